// What a shared library says of itself, read from its file: to know what it needs before it is opened, since a missing
// library can then be looked for elsewhere.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ddp {

struct SharedObject {
  std::string soname;               // DT_SONAME; empty: none
  std::vector<std::string> needed;  // DT_NEEDED, in order
  std::string note;                 // the text of DDP_MODULE_NOTE, where it has one
  std::string runpath;              // DT_RUNPATH or DT_RPATH: folders between colons, some with $ORIGIN
};

// Of an ELF file of this machine's kind (64 bits, little-endian). Errors: no_input (66) when it cannot be read, data
// (65) when it is no such file or is damaged.
SharedObject read_shared_object(const std::filesystem::path& path);

// The folders of a list like a runpath; empty ones are left out.
std::vector<std::filesystem::path> folders_of(std::string_view list);

}  // namespace ddp
