// Which part of its picture a sample shows, and how: data.augment. What is random is a function of (seed, epoch,
// sample), so that every number of ranks and workers, and a resume, see the same.
//
//   none          what evaluation sees
//   flip          that, mirrored with probability 1/2
//   shift         that, moved by up to an eighth of its sides in each direction, zeros coming in, and flip
//   resized_crop  a rectangle of 8 to 100% of the picture's area and of ratio 3:4 to 4:3, after ten tries the largest
//                 centred one of such a ratio, and flip; torchvision's RandomResizedCrop
#pragma once

#include "runtime/config/choices.h"
#include "runtime/data/data_source.h"
#include "runtime/data/images/picture.h"

namespace ddp {

struct View {
  Rectangle crop;               // of the picture: what is resized
  bool flip = false;            // then mirrored, left to right
  int64_t down = 0, right = 0;  // then moved by so many pixels, below 0 up and to the left
};

class Views {
 public:
  // Of the samples of a request, whose batch has an `image` (H,W,C); those of evaluation have no random changes.
  explicit Views(const SourceRequest& request);

  // What evaluation sees of a photograph: the largest centred square. Where training magnifies by its crops
  // (resized_crop), the centre of 224/256 of its side, which is "resize to 256, crop to 224" for models of any size.
  Rectangle centre_square(const PictureSize& picture) const;

  // `seen` is the part of the picture that evaluation sees.
  View view(const PictureSize& picture, const Rectangle& seen, const Draw& draw) const;

 private:
  Augment augment_;  // not automatic
  bool magnifies_;   // in training
  uint64_t seed_;
  int64_t height_, width_;
};

// Where sample `i` of the batch has its pixels.
PixelTarget pixels_of(HostBatch& batch, int64_t i);

// Moves what the pixels show; zeros come in.
void shift(const PixelTarget& image, int64_t down, int64_t right);

}  // namespace ddp
