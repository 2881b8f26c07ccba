// What a stranger names where a safetensors file is wanted, by the bytes that real programs write first.
#include "runtime/base/foreign_file.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/run_files.h"
#include "runtime/base/weights_file.h"
#include "tests/support/temporary_folder.h"

namespace ddp {
namespace {

using namespace std::string_literals;

std::string what(const std::string& beginning) {
  const std::optional<ForeignFile> foreign = recognise_foreign(beginning.substr(0, kRecognisedBytes));
  return foreign ? foreign->what : "";
}

TEST_CASE("a file in another format is recognised by its first bytes") {
  const std::string zeros(600, '\0');
  const auto zip = [&](const std::string& name) {
    return "PK\x03\x04\0\0\0\x08\x08\0\0\0\0\0"s + std::string(12, '\0') + char(name.size()) + "\0\0\0"s + name + zeros;
  };
  CHECK(what("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n") ==
        "a Git LFS pointer, which stands for the file");
  CHECK(what("version https://git-lfs.github.com/spec/v1\r\n") == "a Git LFS pointer, which stands for the file");
  for (const char* page :
       {"<!DOCTYPE html>\n<html>", "<!doctype HTML>", "\n  <html lang=\"en\">", "\xEF\xBB\xBF<HTML>", "<head>"})
    CHECK(what(page) == "an HTML page");
  CHECK(what("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>") == "XML or HTML");
  CHECK(what(zip("archive/data.pkl")) == "a pickle in a zip archive, as torch.save writes (pytorch_model.bin, .pt)");
  CHECK(what(zip("arr_0.npy")) == "a zip archive of numpy arrays (.npz)");
  CHECK(what(zip("model.safetensors")) == "a zip archive");
  CHECK(what("PK\x03\x04"s) == "a zip archive; torch.save writes such (pytorch_model.bin, .pt)");
  for (const std::string& pickle :
       {"\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P"s, "\x80\x04\x95\x20\0\0\0\0\0\0\0}"s, "\x80\x05"s})
    CHECK(what(pickle + zeros) == "a pickle, as torch.save wrote (pytorch_model.bin, .pt)");
  CHECK(what("\x1F\x8B\x08\0\0\0\0\0\0\x03"s + zeros) == "compressed by gzip");
  CHECK(what("\x28\xB5\x2F\xFD\x04\0"s + zeros) == "compressed by zstd");
  CHECK(what("\xFD\x37zXZ\0\0\x04"s + zeros) == "compressed by xz");
  CHECK(what("BZh91AY&SY"s + zeros) == "compressed by bzip2");
  CHECK(what("7z\xBC\xAF\x27\x1C\0\x04"s + zeros) == "a 7z archive");
  CHECK(what("model.safetensors"s + zeros.substr(17, 240) + "ustar\0"s + zeros) == "a tar archive");
  CHECK(what("\x93NUMPY\x01\0v\0{'descr': '<f4'"s) == "an array of numpy (.npy)");
  CHECK(what("GGUF\x03\0\0\0"s + zeros) == "a GGUF file, as llama.cpp reads");
  CHECK(what("\x89HDF\r\n\x1A\n\0"s + zeros) == "an HDF5 file (.h5)");
  CHECK(what("") == "empty");
  CHECK(what("{\"metadata\": {}, \"weight_map\": {}}") == "JSON");
  CHECK(what(" [1, 2]") == "JSON");
  CHECK(what("Entry not found") == "plain text");
  CHECK(what("model:\n\tlayers: 2\n") == "plain text");
  CHECK(what(std::string(511, 'a') + "\xC3\xA4") == "plain text");  // a character that is cut
}

TEST_CASE("no safetensors file is taken for another format, whatever the length of its header") {
  // As the lengths of headers these begin like gzip, bzip2, a pickle, JSON, HTML and a page of text.
  for (const char* length : {"\x1F\x8B\x08\0", "BZh\0", "\x80\x02\0\0", "{\0\0\0", "<\0\0\0", "abc\0", "PK\x03\x04"})
    for (const char* header : {"{\"a\":", " {}", "\n{}"}) {
      const std::string beginning = std::string(length, 4) + "\0\0\0\0"s + header;
      CAPTURE(header, length);
      CHECK(what(beginning).empty());
      CHECK_FALSE(is_json(beginning));
    }
  CHECK(what(std::string(600, '\xFF')).empty());  // anything: the reader says what is wrong with it
  CHECK(is_json(" \n{\"weight_map\": {}}"));
  CHECK(is_json("\xEF\xBB\xBF{}"));
  CHECK_FALSE(is_json("[]"));
}

TEST_CASE("weights are a file, or what a folder has by a name that others use") {
  const test::TemporaryFolder folder;
  const auto error = [&](const std::filesystem::path& path, int code) {
    try {
      find_weights(path);
    } catch (const Error& e) {
      CHECK(int(e.code()) == code);
      return std::string(e.what());
    }
    return "nothing"s;
  };
  const auto write = [&](const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder.path / name;
    write_all(create_output(path), std::as_bytes(std::span(text)), path);
    return path;
  };
  const std::string in = folder.path.string();
  CHECK(error(folder.path / "none", 66) == "cannot open " + in + "/none: No such file or directory");
  const std::string neither = in + " holds neither model.safetensors nor model.safetensors.index.json";
  CHECK(error(folder.path, 66) == neither + "; name the file of the weights");
  write("pytorch_model.bin", "PK\x03\x04");
  CHECK(error(folder.path, 66).starts_with(neither + ", but pytorch_model.bin, which is not read; convert it"));
  CHECK(error(folder.path / "pytorch_model.bin", 65)
            .starts_with(in + "/pytorch_model.bin is not a valid safetensors file: it is a zip archive"));
  const auto index = write("model.safetensors.index.json", "{}");
  CHECK(find_weights(folder.path).path == index);
  CHECK(find_weights(folder.path).is_index);
  CHECK(find_weights(index).is_index);
  const auto pointer = write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  CHECK(error(folder.path, 65) == pointer.string() +
                                      " is not a valid safetensors file: it is a Git LFS pointer, which stands for the "
                                      "file; fetch the file: git lfs pull");
  std::filesystem::remove(pointer);
  std::filesystem::create_symlink("gone", pointer);
  CHECK(error(folder.path, 66) == "cannot open " + pointer.string() + ": No such file or directory");
  std::filesystem::remove(pointer);
  std::filesystem::create_directory(pointer);
  CHECK(error(folder.path, 66) == pointer.string() + " is not a regular file");
}

}  // namespace
}  // namespace ddp
