#include "runtime/data/images/picture.h"

#include "runtime/base/error.h"
#include "runtime/data/images/jpeg.h"
#include "runtime/data/images/png.h"

namespace ddp {
namespace {

bool is_jpeg_else_png(std::span<const std::byte> file) {
  if (is_jpeg(file)) return true;
  if (is_png(file)) return false;
  throw Error(ExitCode::data, file.empty() ? "an empty file" : "neither a JPEG nor a PNG");
}

}  // namespace

PictureSize picture_size(std::span<const std::byte> file) {
  return is_jpeg_else_png(file) ? jpeg_size(file) : png_size(file);
}

void decode_crop(std::span<const std::byte> file, const Rectangle& crop, bool flip, const PixelTarget& to,
                 PictureScratch& scratch) {
  const auto decode = is_jpeg_else_png(file) ? decode_jpeg : decode_png;
  resize(decode(file, crop, to, scratch), flip, to, scratch);
}

}  // namespace ddp
