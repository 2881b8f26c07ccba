// What the decoders of JPEG and PNG have in common: how a failure leaves a C library, which sizes are believed, and the
// grey of a colour.
#pragma once

#include <fmt/core.h>

#include <csetjmp>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/data/images/picture.h"

namespace ddp {

// libjpeg and libpng end a call that failed in a function of ours that must not return. An exception must not cross
// their frames, so it leaves its message here and jumps over them.
struct DecoderFailure {
  std::jmp_buf jump;
  char message[256];
};

// Runs `call`; where it fails, an Error (data). No frame above this one may hold what needs a destructor: the jump
// would skip it. Not inlined, so that no variable of the caller is one that the jump may leave with an old value.
template <class Call>
[[gnu::noinline]] void guarded(DecoderFailure& failure, const char* type, const Call& call) {
  if (setjmp(failure.jump) == 0)
    call();
  else
    throw Error(ExitCode::data, fmt::format("a corrupt {}: {}", type, failure.message));
}

// Errors: data (65) where a picture is too large, or its pixels are more than `most_per_byte` x the file's bytes, which
// no complete file of that kind holds. So what a decoder allocates is bounded by bytes that are there.
inline void check_size(PictureSize size, std::span<const std::byte> file, int64_t most_per_byte) {
  constexpr int64_t kMostPixels = 100'000'000;
  const auto fail = [&](const std::string& why) {
    throw Error(ExitCode::data, fmt::format("{} x {} pixels{}", size.width, size.height, why));
  };
  if (size.width > kMostPixels / size.height) fail(": more than 100 million are not read");
  if (size.width * size.height / most_per_byte > int64_t(file.size()))
    fail(fmt::format(" in a file of {} bytes: corrupt, or it ends early", file.size()));
}

inline void check_within(const Rectangle& crop, PictureSize size) {
  DDP_CHECK(crop.left >= 0 && crop.top >= 0 && crop.width > 0 && crop.height > 0 &&
                crop.left + crop.width <= size.width && crop.top + crop.height <= size.height,
            "{} x {} at {}, {} of {} x {} pixels", crop.width, crop.height, crop.left, crop.top, size.width,
            size.height);
}

// At least `size` bytes of a buffer that only grows: to shrink and grow it again would clear what is written anyway.
inline uint8_t* room(std::vector<uint8_t>& buffer, int64_t size) {
  if (int64_t(buffer.size()) < size) buffer.resize(size_t(size));
  return buffer.data();
}

// ITU-R 601 luma in 16 bits of fraction, as Pillow's convert("L").
inline uint8_t luma(const uint8_t* rgb) {
  return uint8_t((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

}  // namespace ddp
