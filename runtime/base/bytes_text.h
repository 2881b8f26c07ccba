#pragma once

#include <cstdint>
#include <string>

namespace ddp {

std::string bytes_text(int64_t bytes);  // for people: "512 B", "12 MiB", "1.4 GiB"

}  // namespace ddp
