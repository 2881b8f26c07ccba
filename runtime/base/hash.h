// XXH3 of 64 bits over data that comes in pieces: finds corruption of checkpoints and changed input files at memory
// speed. It finds accidents, not tampering.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct XXH3_state_s;

namespace ddp {

class Xxh3 {
 public:
  Xxh3();
  void update(std::span<const std::byte> bytes);
  // Of everything so far; more may follow.
  uint64_t digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

uint64_t xxh3(std::span<const std::byte> bytes);
// A hash as text: 16 hex digits.
std::string hash_text(uint64_t hash);

}  // namespace ddp
