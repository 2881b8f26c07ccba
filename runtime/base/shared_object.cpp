#include "runtime/base/shared_object.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/module_note.h"

namespace ddp {
namespace {

class ElfFile {
 public:
  explicit ElfFile(const std::filesystem::path& path)
      : path_(path), file_(open_input(path)), size_(file_size(file_, path)) {
    const auto header = read<Elf64_Ehdr>(0, 1).front();
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_phentsize != sizeof(Elf64_Phdr))
      fail();
    segments_ = read<Elf64_Phdr>(header.e_phoff, header.e_phnum);
  }

  SharedObject dynamic() const {
    SharedObject object;
    object.note = note();
    const auto segment =
        std::find_if(segments_.begin(), segments_.end(), [](const Elf64_Phdr& s) { return s.p_type == PT_DYNAMIC; });
    if (segment == segments_.end()) return object;
    const auto entries = read<Elf64_Dyn>(segment->p_offset, segment->p_filesz / sizeof(Elf64_Dyn));
    const std::string names = strings(entries);
    for (const Elf64_Dyn& entry : entries) {
      if (entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_SONAME) object.soname = name_at(names, entry.d_un.d_val);
      if (entry.d_tag == DT_NEEDED) object.needed.push_back(name_at(names, entry.d_un.d_val));
      if (entry.d_tag == DT_RUNPATH || entry.d_tag == DT_RPATH) object.runpath = name_at(names, entry.d_un.d_val);
    }
    return object;
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(ExitCode::data, path_.string() + " is not a shared library of this machine, or is damaged");
  }

  template <class T>
  std::vector<T> read(uint64_t offset, uint64_t count) const {
    if (offset > uint64_t(size_) || count > (uint64_t(size_) - offset) / sizeof(T)) fail();
    std::vector<T> out(count);
    read_exact(file_, std::as_writable_bytes(std::span(out)), int64_t(offset), path_);
    return out;
  }

  // Each note is a header, its owner and its text, each of these padded to 4 bytes.
  std::string note() const {
    constexpr std::string_view kOwner(DDP_NOTE_OWNER, sizeof DDP_NOTE_OWNER);  // with its end, as notes have it
    for (const Elf64_Phdr& s : segments_) {
      if (s.p_type != PT_NOTE) continue;
      const std::vector<char> bytes = read<char>(s.p_offset, s.p_filesz);
      std::string_view rest(bytes.data(), bytes.size());
      while (rest.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr header;
        std::memcpy(&header, rest.data(), sizeof header);
        rest.remove_prefix(sizeof header);
        const uint64_t owner = (uint64_t(header.n_namesz) + 3) / 4 * 4, text = (uint64_t(header.n_descsz) + 3) / 4 * 4;
        if (owner + text > rest.size()) break;
        if (rest.substr(0, header.n_namesz) == kOwner)
          return std::string(rest.substr(owner, header.n_descsz)).c_str();  // up to the first zero
        rest.remove_prefix(owner + text);
      }
    }
    return {};
  }

  // The string table that the dynamic section points at, by its address in memory.
  std::string strings(const std::vector<Elf64_Dyn>& entries) const {
    uint64_t address = 0, bytes = 0;
    for (const Elf64_Dyn& entry : entries) {
      if (entry.d_tag == DT_STRTAB) address = entry.d_un.d_ptr;
      if (entry.d_tag == DT_STRSZ) bytes = entry.d_un.d_val;
    }
    for (const Elf64_Phdr& s : segments_)
      if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz) {
        const std::vector<char> text = read<char>(s.p_offset + (address - s.p_vaddr), bytes);
        return {text.begin(), text.end()};
      }
    fail();
  }

  std::string name_at(const std::string& names, uint64_t offset) const {
    if (offset >= names.size()) fail();
    return names.c_str() + offset;
  }

  const std::filesystem::path path_;
  const Fd file_;
  const int64_t size_;
  std::vector<Elf64_Phdr> segments_;
};

}  // namespace

SharedObject read_shared_object(const std::filesystem::path& path) { return ElfFile(path).dynamic(); }

std::vector<std::filesystem::path> folders_of(std::string_view list) {
  std::vector<std::filesystem::path> out;
  while (!list.empty()) {
    const std::string_view folder = list.substr(0, list.find(':'));
    list.remove_prefix(std::min(folder.size() + 1, list.size()));
    if (!folder.empty()) out.emplace_back(folder);
  }
  return out;
}

}  // namespace ddp
