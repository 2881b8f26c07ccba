// An antialiased bilinear filter: a triangle of the scale's width, as Pillow's BILINEAR and torchvision's
// antialias=True, computed in f32 and rounded once (Pillow rounds to 8 bits between its passes). Our own, since a
// picture comes as a decoder left it: with rows that are longer than the crop, and perhaps at half the size.
#pragma once

#include <cstdint>
#include <vector>

namespace ddp {

// `height` x `width` pixels of `channels` (1: grey, 3: RGB), channels last, one row behind the other.
struct PixelTarget {
  uint8_t* pixels;
  int64_t width, height, channels;
};

// What is resized: as many channels as the target, interleaved. A pixel is one of the picture's, or, from a decoder
// that made it smaller, the mean of a square of `reduction` x `reduction` of them.
struct Pixels {
  const uint8_t* pixels;  // the corner
  int64_t width, height;  // in pixels of the picture
  int64_t channels;
  int64_t stride = width * channels;    // bytes from row to row
  int64_t reduction = 1;                // 1, 2 or 4
  int64_t skip_left = 0, skip_top = 0;  // how much of the corner's square lies outside
};

// Of one axis: target i is the sum of weights[i * taps + k] x source first[i] + k, over the k below count[i].
struct ResizeWindows {
  std::vector<int64_t> first, count;
  std::vector<float> weights;
  int64_t taps = 0;
};

// What a thread decodes into and resizes with; grows and stays.
struct PictureScratch {
  std::vector<uint8_t> pixels, row;
  ResizeWindows columns, rows;
  std::vector<float> line;
};

// Fills the target, mirrored where `flip`. What lies outside has no weight. Nothing is allocated once the scratch has
// seen the largest picture.
void resize(const Pixels& from, bool flip, const PixelTarget& to, PictureScratch& scratch);

}  // namespace ddp
