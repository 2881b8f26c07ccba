// Pictures to be decoded: synthetic ones, and files of all kinds, written by libjpeg and libpng.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ddp::test {

struct TestPicture {
  int width, height, channels;  // interleaved
  std::vector<uint8_t> pixels;
};

// Noise of many sizes, an octave half as strong as the next coarser one: a spectrum like a photograph's, of about as
// many bytes as one in a JPEG. The same picture for the same arguments.
TestPicture natural_picture(int width, int height, int channels, unsigned seed = 1);

using FileBytes = std::vector<std::byte>;

struct JpegKind {
  int quality = 90;
  int sampling = 2;  // luma samples for one of chroma, each way: 1 (4:4:4) or 2 (4:2:0)
  bool progressive = false;
  int restart_rows = 0;     // rows of blocks between restart markers; 0: none
  bool rgb = false;         // stored as RGB instead of YCbCr
  bool adobe_ycck = false;  // of 4 channels: stored as YCCK instead of CMYK
};
// Of 1 (grey), 3 (RGB) or 4 (CMYK, as the file holds it) channels.
FileBytes write_jpeg(const TestPicture& picture, const JpegKind& kind = {});

struct PngKind {
  int bits = 8;  // a sample: 8; 16, whose lower byte is noise; 1, 2 or 4 of grey or of a palette
  bool palette = false;
  bool interlaced = false;
};
// Of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels; of 1 where `palette`: an index into
// `palette_color`, half of whose entries are transparent.
FileBytes write_png(const TestPicture& picture, const PngKind& kind = {});
uint8_t palette_color(int index, int channel);

}  // namespace ddp::test
