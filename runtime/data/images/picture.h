// A picture file as pixels of a crop: what a data source of images asks for. The type is in the content, not in the
// name: JPEG (baseline, progressive, grey, CMYK) and PNG; ImageNet holds a PNG called .JPEG. Files come from strangers:
// nothing in one is trusted. Pixels are those of Pillow's convert("RGB") and convert("L"), up to what jpeg.h says:
// alpha is dropped, and neither a colour profile nor a gamma nor an orientation is applied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/data/images/resize.h"

namespace ddp {

struct PictureSize {
  int64_t width = 0, height = 0;
};

// Reads the header alone. Errors: data (65), one line without the file's name, when it is neither type, ends before its
// size, or is larger than 100 million pixels or than a file of so many bytes can hold.
PictureSize picture_size(std::span<const std::byte> file);

// A rectangle of a picture, in its pixels; within it.
struct Rectangle {
  int64_t left = 0, top = 0, width = 0, height = 0;
};

// Decodes no more of the file than `crop` needs, resizes it to the target as `resize` does, and mirrors it where
// `flip`. A JPEG whose crop is at least 2 or 4 times as wide and high as the target is decoded at 1/2 or 1/4 of its
// size. The same bits on every thread. Errors: as picture_size, and where the part that is read is corrupt or ends
// early.
void decode_crop(std::span<const std::byte> file, const Rectangle& crop, bool flip, const PixelTarget& to,
                 PictureScratch& scratch);

}  // namespace ddp
