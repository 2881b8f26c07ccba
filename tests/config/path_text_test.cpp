// Paths as people type them: ~, $NAME and ${NAME} mean something, once, and nowhere but in paths.
#include "runtime/config/path_text.h"

#include <catch2/catch.hpp>
#include <optional>

#include "runtime/base/fs.h"
#include "tests/config/support.h"
#include "tests/support/environment.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

std::string read(const std::string& text) { return path_from_text(text, "output_dir", "here"); }

}  // namespace

TEST_CASE("a path's home folder and variables are put in once") {
  const EnvironmentVariable home("HOME", "/home/ada"), scratch("SCRATCH", "/scratch/x"),
      odd("ODD_1", "~/$HOME/${SCRATCH}$$");
  const std::pair<const char*, const char*> rows[] = {{"", ""},
                                                      {"runs/a", "runs/a"},
                                                      {"~", "/home/ada"},
                                                      {"~/runs", "/home/ada/runs"},
                                                      {"a/~/b~", "a/~/b~"},
                                                      {"./~x", "./~x"},
                                                      {"$SCRATCH", "/scratch/x"},
                                                      {"$SCRATCH/b", "/scratch/x/b"},
                                                      {"a${SCRATCH}b", "a/scratch/xb"},
                                                      {"$SCRATCH$HOME", "/scratch/x/home/ada"},
                                                      {"~/$SCRATCH-1", "/home/ada//scratch/x-1"},
                                                      {"$ODD_1/a", "~/$HOME/${SCRATCH}$$/a"},
                                                      {"$$", "$"},
                                                      {"$$HOME", "$HOME"},
                                                      {"a$$$$b", "a$$b"},
                                                      {"$$$SCRATCH", "$/scratch/x"},
                                                      {"{SCRATCH}", "{SCRATCH}"}};
  for (const auto& [text, path] : rows) {
    INFO(text);
    CHECK(read(text) == path);
  }
}

TEST_CASE("a path that nobody can mean is 78, with its key and the variable") {
  const EnvironmentVariable not_set("NOT_SET", std::nullopt), empty("EMPTY", ""), home("HOME", "/home/ada");
  for (const char* text : {"$NOT_SET/a", "a/${NOT_SET}", "$EMPTY/a"}) {
    const Failure f = failure_of([&] { read(text); });
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Contains("here: output_dir is ") &&
                              (Contains("EMPTY, which is empty") || Contains("NOT_SET, which is not set")));
  }
  for (const char* text :
       {"$", "a$", "a$/b", "${", "${HOME", "${}", "${HOME-x}", "$1", "${1A}", "$-", "$$$", "$(id)"}) {
    INFO(text);
    const Failure f = failure_of([&] { read(text); });
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Contains("write $$ for a dollar"));
  }
  CHECK_THAT(failure_of([] { read("~root/a"); }).message, Contains("another user's"));
  const EnvironmentVariable no_home("HOME", std::nullopt);
  CHECK_THAT(failure_of([] { read("~/a"); }).message, Contains("HOME") && Contains("not set"));
}

TEST_CASE("a path as text means the path") {
  for (const std::string path : {"a", "$HOME", "a$$b", "${", "./~", "a/~"}) CHECK(read(path_as_text(path)) == path);
  CHECK(read(path_as_text("~/a")) == "./~/a");
}

TEST_CASE("paths are read so where somebody types them, and nothing that is stored is read twice") {
  const EnvironmentVariable data("DATA", "/d $DATA"), home("HOME", "/home/ada");
  const TemporaryFolder folder;
  const auto file = folder.path / "t.yaml";
  write_text_atomically(file,
                        "model: {init_from: $DATA/w}\ndata: {train: '$DATA/t', valid: \"${DATA}\"}\noutput_dir: ~/x\n");
  const auto load = [&](const std::vector<std::string>& overrides, const std::string& output_dir) {
    return load_config(file, config_registry(), overrides, output_dir);
  };
  const Config config = load({}, {});
  CHECK(config.model.init_from == "/d $DATA/w");
  CHECK(config.data.train.text() == "/d $DATA/t");
  CHECK(config.data.valid.text() == "/d $DATA");
  CHECK(config.output_dir == "/home/ada/x");
  CHECK(load({"output_dir=~/y"}, {}).output_dir == "/home/ada/y");
  CHECK(load({"output_dir=~/y"}, "~/z").output_dir == "/home/ada/z");
  CHECK(load_output_dir(file, config_registry(), std::vector<std::string>{"output_dir=~/y"}, {}) == "/home/ada/y");
  CHECK(load_output_dir(file, config_registry(), {}, {}) == "/home/ada/x");

  CHECK(flatten(parse(to_yaml(config))) == flatten(config));
  CHECK(flatten(parse_stored_config(to_yaml(config), "config.yaml", config_registry())) == flatten(config));
  const Defaults defaults = defaults_of(config, "run");
  CHECK(parse_config("", "t", config_registry(), {}, {}, defaults).data.train == config.data.train);
  const std::vector<std::string> typed = {"data.valid=~/v"};
  CHECK(parse_stored_config(to_yaml(config), "c", config_registry(), typed).data.valid.text() == "/home/ada/v");

  const EnvironmentVariable no_data("DATA", std::nullopt);
  const Failure f = failure_of([&] { load({}, {}); });
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Contains("t.yaml:1:") && Contains("model.init_from") && Contains("DATA, which is not set"));
}
