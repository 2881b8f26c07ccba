#include "tests/data/picture_files.h"

#include <png.h>
#include <stdio.h>  // jpeglib.h needs FILE

#include <jpeglib.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"

namespace ddp::test {
namespace {

// [0, 1) of a point of a grid.
float hash(uint32_t x, uint32_t y, uint32_t salt) {
  uint32_t h = (x * 0x9E3779B1u) ^ (y * 0x85EBCA77u) ^ (salt * 0xC2B2AE3Du);
  h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
  h = (h ^ (h >> 12)) * 0x297A2D39u;
  return float((h ^ (h >> 15)) >> 8) * 0x1p-24f;
}

}  // namespace

TestPicture natural_picture(int width, int height, int channels, unsigned seed) {
  TestPicture picture{width, height, channels, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) {
        float value = 128, strength = 60;
        for (int size = 128; size >= 1; size /= 2, strength *= 0.9f) {
          const int gx = x / size, gy = y / size;
          const float fx = float(x % size) / float(size), fy = float(y % size) / float(size);
          // Three quarters of the contrast are in all channels alike.
          const auto at = [&](int dx, int dy) {
            const auto of = [&](unsigned salt) { return hash(unsigned(gx + dx), unsigned(gy + dy), salt) - 0.5f; };
            const unsigned salt = (seed * 16 + unsigned(size)) * 8;
            return 0.75f * of(salt) + 0.25f * of(salt + 1 + unsigned(c));
          };
          value += strength *
                   ((at(0, 0) * (1 - fx) + at(1, 0) * fx) * (1 - fy) + (at(0, 1) * (1 - fx) + at(1, 1) * fx) * fy);
        }
        picture.pixels.push_back(uint8_t(std::clamp(value, 0.0f, 255.0f)));
      }
  return picture;
}

FileBytes write_jpeg(const TestPicture& picture, const JpegKind& kind) {
  jpeg_compress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* file = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &file, &size);
  jpeg.image_width = unsigned(picture.width);
  jpeg.image_height = unsigned(picture.height);
  jpeg.input_components = picture.channels;
  jpeg.in_color_space = picture.channels == 1 ? JCS_GRAYSCALE : picture.channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  if (kind.rgb) jpeg_set_colorspace(&jpeg, JCS_RGB);
  if (kind.adobe_ycck) jpeg_set_colorspace(&jpeg, JCS_YCCK);
  jpeg_set_quality(&jpeg, kind.quality, TRUE);
  for (int c = 0; c < jpeg.num_components; ++c) {
    const bool sharp = c % 3 == 0 && picture.channels > 1;  // Y or R, and K
    jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = sharp ? kind.sampling : 1;
  }
  jpeg.restart_in_rows = kind.restart_rows;
  if (kind.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  for (int y = 0; y < picture.height; ++y) {
    auto row = const_cast<JSAMPROW>(picture.pixels.data() + size_t(y) * size_t(picture.width * picture.channels));
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  const auto* const bytes = reinterpret_cast<const std::byte*>(file);
  FileBytes result(bytes, bytes + size);
  free(file);
  return result;
}

uint8_t palette_color(int index, int channel) { return uint8_t(index * (channel * 2 + 3) + channel * 50); }

FileBytes write_png(const TestPicture& picture, const PngKind& kind) {
  FileBytes file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  DDP_CHECK(info != nullptr, "no memory");
  const auto write = [](png_structp p, png_bytep data, size_t n) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(data);
    auto& out = *static_cast<FileBytes*>(png_get_io_ptr(p));
    out.insert(out.end(), bytes, bytes + n);
  };
  png_set_write_fn(png, &file, write, nullptr);
  const int types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
  png_set_IHDR(png, info, unsigned(picture.width), unsigned(picture.height), kind.bits,
               kind.palette ? PNG_COLOR_TYPE_PALETTE : types[picture.channels - 1],
               kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (kind.palette) {
    const int n = 1 << kind.bits;
    std::vector<png_color> colors;
    std::vector<png_byte> alphas(size_t(n / 2), 77);
    for (int i = 0; i < n; ++i) colors.push_back({palette_color(i, 0), palette_color(i, 1), palette_color(i, 2)});
    png_set_PLTE(png, info, colors.data(), n);
    png_set_tRNS(png, info, alphas.data(), n / 2, nullptr);
  }
  png_write_info(png, info);
  // Samples of fewer bits: the uppermost of the picture's 8, of which libpng packs several into a byte.
  const size_t samples = size_t(picture.width * picture.channels);
  std::vector<uint8_t> rows;
  for (size_t i = 0; i < picture.pixels.size(); ++i) {
    const uint8_t sample = picture.pixels[i];
    rows.push_back(kind.bits < 8 ? uint8_t(sample >> (8 - kind.bits)) : sample);
    if (kind.bits == 16) rows.push_back(uint8_t(i * 37));
  }
  if (kind.bits < 8) png_set_packing(png);
  const int passes = png_set_interlace_handling(png);
  for (int pass = 0; pass < passes; ++pass)
    for (int y = 0; y < picture.height; ++y)
      png_write_row(png, rows.data() + size_t(y) * samples * (kind.bits == 16 ? 2 : 1));
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

}  // namespace ddp::test
