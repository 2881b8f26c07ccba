// What a stranger names where a safetensors file is wanted, and what is said of it.
#include "runtime/base/weights_file.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "tests/support/temporary_folder.h"

namespace ddp {
namespace {

using namespace std::string_literals;

// Of weights at this path, the error and its code.
std::string error(const std::filesystem::path& path, int code) {
  try {
    find_weights(path);
  } catch (const Error& e) {
    CHECK(int(e.code()) == code);
    return e.what();
  }
  return "nothing";
}

std::filesystem::path write(const std::filesystem::path& path, const std::string& bytes) {
  write_all(create_output(path), std::as_bytes(std::span(bytes)), path);
  return path;
}

TEST_CASE("a file of another kind is refused with what to do about it") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path / "weights";
  const std::pair<std::string, const char*> cases[] = {
      {"", "empty; its download or copy may have failed: fetch it again"},
      {"Entry not found", "plain text; name the file of the weights; a failed download may have left its error there"},
      {" [1, 2]", "JSON text; name the weights, or an index of shards (model.safetensors.index.json)"},
      {"<html>",
       "a web page (HTML); download the file itself: a page of its site, or an error, was saved in its place"},
      {"version https://git-lfs.github.com/spec/v1\n",
       "a Git LFS pointer, which stands for a file that was not fetched; fetch it with git lfs pull"},
      {"\x1f\x8b\x08\0"s, "a gzip archive; unpack it first"},
      {"\x80\2}q\0(X"s,
       "a pickle of Python (.pkl, .pt, .bin); if you trust it, convert it in Python: safetensors.torch.save_file("
       "torch.load(FILE, weights_only=True), \"model.safetensors\")"},
      {"\x93NUMPY\1\0"s, "a NumPy array (.npy); gather the weights by their names with safetensors.numpy.save_file"},
      {"PK\3\4"s + std::string(22, '\0') + "\5\0\0\0a.npy"s,
       "a zip archive of NumPy arrays (.npz); convert it in Python: "
       "safetensors.numpy.save_file(dict(numpy.load(FILE)), "
       "\"model.safetensors\")"},
      {"GGUF\3\0\0\0"s, "a GGUF file, as llama.cpp reads; convert it to safetensors by the tools that wrote it"},
      {"\x89PNG\r\n\x1a\n"s, "a PNG picture; name the file of the weights"},
  };
  for (const auto& [bytes, says] : cases)
    CHECK(error(write(path, bytes), 65) == path.string() + " is not a valid safetensors file: it is " + says);
}

TEST_CASE("weights are a file, or what a folder has by a name that others use") {
  const test::TemporaryFolder folder;
  const std::string in = folder.path.string();
  CHECK(error(folder.path / "none", 66) == "cannot open " + in + "/none: No such file or directory");
  const std::string neither = in + " holds neither model.safetensors nor model.safetensors.index.json";
  CHECK(error(folder.path, 66) == neither + "; name the file of the weights");
  write(folder.path / "pytorch_model.bin", "PK\x03\x04");
  CHECK(error(folder.path, 66).starts_with(neither + ", but pytorch_model.bin, which is not read; convert it"));
  CHECK(error(folder.path / "pytorch_model.bin", 65)
            .starts_with(in + "/pytorch_model.bin is not a valid safetensors file: it is a zip archive"));
  const auto index = write(folder.path / "model.safetensors.index.json", "{}");
  CHECK(find_weights(folder.path).path == index);
  CHECK(find_weights(folder.path).is_index);
  CHECK(find_weights(index).is_index);
  const auto pointer = write(folder.path / "model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  CHECK(error(folder.path, 65)
            .starts_with(pointer.string() + " is not a valid safetensors file: it is a Git LFS pointer"));
  std::filesystem::remove(pointer);
  std::filesystem::create_symlink("gone", pointer);
  CHECK(error(folder.path, 66) == "cannot open " + pointer.string() + ": No such file or directory");
  std::filesystem::remove(pointer);
  std::filesystem::create_directory(pointer);
  CHECK(error(folder.path, 66) == pointer.string() + " is not a regular file");
}

}  // namespace
}  // namespace ddp
