// For scripts/pillow_parity.py: reads lines "LEFT TOP WIDTH HEIGHT FLIP TO_WIDTH TO_HEIGHT CHANNELS PATH", writes the
// pixels of each crop.
#include <fmt/core.h>

#include <cstdio>
#include <iostream>

#include "runtime/base/fs.h"
#include "runtime/data/images/picture.h"

int main() {
  ddp::Rectangle crop;
  ddp::PixelTarget to{};
  ddp::PictureScratch scratch;
  std::vector<uint8_t> pixels;
  bool flip = false;
  std::string path;
  while (std::cin >> crop.left >> crop.top >> crop.width >> crop.height >> flip >> to.width >> to.height >>
             to.channels >> std::ws &&
         std::getline(std::cin, path)) {
    const std::string file = ddp::read_text(path);
    pixels.resize(size_t(to.width * to.height * to.channels));
    to.pixels = pixels.data();
    ddp::decode_crop(std::as_bytes(std::span(file)), crop, flip, to, scratch);
    if (std::fwrite(pixels.data(), 1, pixels.size(), stdout) != pixels.size()) return 1;
  }
}
