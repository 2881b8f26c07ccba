// Broken checkpoints are found and passed over; failed writes void only the checkpoint being written.
#include <unistd.h>

#include "tests/checkpoint/fixture.h"
#include "tests/support/file_size_limit.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;
using test::SmallRun;

struct Found {
  std::optional<Checkpoint> checkpoint;
  std::vector<std::string> warnings;

  explicit Found(const fs::path& folder) {
    checkpoint = find_newest_verified(folder, [this](const std::string& text) { warnings.push_back(text); });
  }
};

// Commits steps 10, 20 and 30 and returns the path of the last.
fs::path three_checkpoints(const fs::path& folder) {
  SmallRun run;
  fs::path last;
  for (int64_t step : {10, 20, 30}) last = write_checkpoint(folder, run.content(step), 3).checkpoint.path;
  return last;
}

TEST_CASE("the newest intact checkpoint is found without a warning") {
  test::TemporaryFolder folder;
  three_checkpoints(folder.path);
  const Found found(folder.path);
  REQUIRE(found.checkpoint);
  CHECK(found.checkpoint->step == 30);
  CHECK(found.warnings.empty());
  CHECK_FALSE(Found(folder.path / "none").checkpoint);
}

TEST_CASE("any damage to the newest checkpoint is found, named, and the older one taken") {
  test::TemporaryFolder folder;
  const fs::path newest = three_checkpoints(folder.path);
  for (const char* name : {kModelFile, kOptimizerFile, kManifestFile}) {
    const fs::path file = newest / name;
    const std::string intact = read_text(file);
    const auto expect_fallback = [&](const char* damage) {
      INFO(name << " " << damage);
      const Found found(folder.path);
      REQUIRE(found.checkpoint);
      CHECK(found.checkpoint->step == 20);
      REQUIRE(found.warnings.size() == 1);
      INFO(found.warnings[0]);
      CHECK(found.warnings[0].starts_with("checkpoint of step 30 is passed over: "));
      CHECK(found.warnings[0].find(file.string()) != std::string::npos);
    };
    for (size_t at : {size_t(0), intact.size() / 3, intact.size() / 2, intact.size() - 2}) {
      test::flip_bit(file, at);
      expect_fallback("with a flipped bit");
      test::write_bytes(file, intact);
    }
    test::write_bytes(file, intact.substr(0, intact.size() / 2));
    expect_fallback("truncated");
    test::write_bytes(file, intact + '\0');
    expect_fallback("with a byte more");
    test::write_bytes(file, "");
    expect_fallback("empty");
    fs::remove(file);
    expect_fallback("missing");
    test::write_bytes(file, intact);
  }
  CHECK(Found(folder.path).checkpoint->step == 30);
}

TEST_CASE("tensor files of two checkpoints do not mix") {
  test::TemporaryFolder folder;
  SmallRun early(0.25f), late(0.75f);
  const auto older = write_checkpoint(folder.path, early.content(1), 2).checkpoint.path;
  const auto newer = write_checkpoint(folder.path, late.content(2), 2).checkpoint.path;
  fs::copy_file(older / kOptimizerFile, newer / kOptimizerFile, fs::copy_options::overwrite_existing);
  CHECK(Found(folder.path).checkpoint->step == 1);
}

TEST_CASE("checkpoints of which none is intact are an error, never a fresh start") {
  test::TemporaryFolder folder;
  three_checkpoints(folder.path);
  for (const Checkpoint& c : list_checkpoints(folder.path)) test::flip_bit(c.path / kModelFile, 200);
  std::string message;
  CHECK(test::failure([&] { Found found(folder.path); }, &message) == 65);
  CHECK(message.starts_with("none of the 3 checkpoints in " + folder.path.string() + " is intact; "));
}

TEST_CASE("a write that fails at any byte voids that checkpoint only and leaves no partial") {
  test::TemporaryFolder folder;
  SmallRun run;
  const auto path = write_checkpoint(folder.path, run.content(1), 1).checkpoint.path;
  const size_t model = fs::file_size(path / kModelFile), optimizer = fs::file_size(path / kOptimizerFile);
  for (size_t limit : {size_t(0), size_t(100), model - 1, model, optimizer - 1}) {
    INFO("limit " << limit << " of " << model << " and " << optimizer);
    std::string message;
    {
      const test::FileSizeLimit full(limit);
      CHECK(test::failure([&] { write_checkpoint(folder.path, run.content(2), 1); }, &message) == 74);
    }
    CHECK(message.find("cannot write") != std::string::npos);
    CHECK(list_checkpoints(folder.path).size() == 1);
    CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
    verify_checkpoint(path);
  }
  write_checkpoint(folder.path, run.content(2), 1);
  CHECK(Found(folder.path).checkpoint->step == 2);
}

TEST_CASE("a folder that cannot be made is an I/O error that names it") {
  test::TemporaryFolder folder;
  SmallRun run;
  test::write_bytes(folder.path / "taken", "a file");
  std::string message;
  CHECK(test::failure([&] { write_checkpoint(folder.path / "taken", run.content(1), 1); }, &message) == 74);
  CHECK(message.find((folder.path / "taken").string()) != std::string::npos);
}

TEST_CASE("an unwritable or unreadable folder is an error to the writer and to the reader") {
  test::TemporaryFolder folder;
  SmallRun run;
  write_checkpoint(folder.path, run.content(1), 1);
  fs::permissions(folder.path, fs::perms::none);
  const bool bypassed = ::access(folder.path.c_str(), W_OK) == 0;  // root may do everything
  if (!bypassed) {
    CHECK(test::failure([&] { write_checkpoint(folder.path, run.content(2), 1); }) == 74);
    CHECK(test::failure([&] { Found found(folder.path); }) == 66);
  }
  fs::permissions(folder.path, fs::perms::owner_all);
}

}  // namespace
}  // namespace ddp
