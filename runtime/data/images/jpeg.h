// JPEG by libjpeg-turbo, through the API of libjpeg: what every distribution has.
#pragma once

#include "runtime/data/images/picture.h"

namespace ddp {

bool is_jpeg(std::span<const std::byte> file);
PictureSize jpeg_size(std::span<const std::byte> file);
// The crop's pixels in scratch.pixels, reduced as far as the target allows: then a resized photograph differs from one
// decoded in full by 1 of 255 in the mean and by up to 48 at sharp edges, since libjpeg's smaller inverse DCT is no
// mean of squares (scripts/pillow_parity.py). Grey of a colour picture is its Y channel, which differs from Pillow's
// convert("L") by up to 15 where a colour of the RGB in between is clipped. CMYK and YCCK are taken as Adobe writes
// them, inverted. What is beside the crop is decoded only where it cannot be skipped: up to two blocks each way, and
// all of a progressive file's coefficients.
Pixels decode_jpeg(std::span<const std::byte> file, const Rectangle& crop, const PixelTarget& to,
                   PictureScratch& scratch);

}  // namespace ddp
