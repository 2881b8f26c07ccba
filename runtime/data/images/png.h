// PNG by libpng.
#pragma once

#include "runtime/data/images/picture.h"

namespace ddp {

bool is_png(std::span<const std::byte> file);
PictureSize png_size(std::span<const std::byte> file);
// The crop's pixels in scratch.pixels. Of 16 bits the upper 8 are taken; alpha and a transparent colour are dropped;
// grey of a colour picture is its luma. Rows below the crop are not read, unless the file is interlaced: that one is
// decoded as a whole.
Pixels decode_png(std::span<const std::byte> file, const Rectangle& crop, const PixelTarget& to,
                  PictureScratch& scratch);

}  // namespace ddp
