// What --resume means for a folder, and which command goes on, from what the folder holds. No process is started: the
// test plays the ranks' part in the folder.
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "launcher/cli.h"
#include "launcher/resume.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

constexpr const char* kAuto = "ddp-launch --resume auto b.yaml";

// Two runs, as launcher and ranks leave them.
struct Runs {
  test::TemporaryFolder folder;
  fs::path a = make("a"), b = make("b");

  fs::path make(const std::string& name) const {
    fs::create_directories(folder.path / name);
    return fs::canonical(folder.path / name);
  }
  static fs::path commit(const fs::path& run, const std::string& name) {
    const fs::path checkpoint = run / "checkpoints" / name;
    fs::create_directories(checkpoint);
    write_text_atomically(checkpoint / "manifest.json", "{}");
    return checkpoint;
  }
  static void train(const fs::path& run) { write_text_atomically(run / "metrics.jsonl", "{}\n"); }
};

Resume enter(const fs::path& run, const std::string& resume) { return {run, resume, kAuto}; }

test::Failure refusal(const fs::path& run, const std::string& resume) {
  return test::failure_of([&] { enter(run, resume); });
}

// "resume auto", "again auto", ...; "nothing".
std::string next(const Resume& resume) {
  const auto c = resume.continuation();
  return c ? (c->has_checkpoint ? "resume " : "again ") + c->resume : "nothing";
}

void check_closed(const fs::path& run, const fs::path& checkpoint) {
  const test::Failure refused = refusal(run, checkpoint.string());
  CHECK(refused.code == 73);
  CHECK_THAT(refused.message, Contains(run.string()) && Contains(checkpoint.string()) && Contains(kAuto) &&
                                  Contains("another --output-dir"));
}

}  // namespace

TEST_CASE("a first start goes into an empty folder alone") {
  const Runs runs;
  CHECK(enter(runs.a, "none").for_ranks() == "none");
  fs::create_directory(runs.a / "logs");
  CHECK(enter(runs.a, "none").for_ranks() == "none");
  SECTION("metrics") { Runs::train(runs.a); }
  SECTION("a checkpoint") { Runs::commit(runs.a, "step-00000010"); }
  SECTION("a checkpoint that is being replaced") { Runs::commit(runs.a, ".replaced-step-00000010"); }
  SECTION("a best that is all that is left") { Runs::commit(runs.a, "best"); }
  SECTION("a best that was about to be replaced") { Runs::commit(runs.a, ".replaced-best"); }
  SECTION("an abandoned past") { fs::create_directories(runs.a / "checkpoints/abandoned-5-20260101T000000Z"); }
  SECTION("an origin") { write_text_atomically(runs.a / "resumed_from", "/b\n"); }
  const test::Failure refused = refusal(runs.a, "none");
  CHECK(refused.code == 73);
  CHECK_THAT(refused.message, Contains("already holds a run; go on with it: " + std::string(kAuto)));
}

TEST_CASE("a folder that holds a run is closed to the checkpoints of others, and left alone") {
  const Runs runs;
  const fs::path checkpoint = Runs::commit(runs.a, "step-00000010");
  SECTION("metrics") { Runs::train(runs.b); }
  SECTION("a checkpoint of the same step") { Runs::commit(runs.b, "step-00000010"); }
  SECTION("an abandoned past") { fs::create_directories(runs.b / "checkpoints/abandoned-5-20260101T000000Z"); }
  SECTION("another origin") {
    const fs::path other = Runs::commit(runs.a, "step-00000005");
    enter(runs.b, other.string()).record_origin();
  }
  SECTION("an origin that is gone") { write_text_atomically(runs.b / "resumed_from", "/none\n"); }
  SECTION("a copy of that run") {
    fs::remove_all(runs.b);
    fs::copy(runs.a, runs.b, fs::copy_options::recursive);
  }
  SECTION("that origin, and a checkpoint of its own") {
    enter(runs.b, checkpoint.string()).record_origin();
    Runs::commit(runs.b, "step-00000011");
  }
  check_closed(runs.b, checkpoint);
}

TEST_CASE("a run goes back to a checkpoint of its own by any of its names") {
  const Runs runs;
  const fs::path checkpoint = Runs::commit(runs.a, "step-00000010");
  Runs::commit(runs.a, "step-00000020");
  Runs::train(runs.a);
  fs::create_directory_symlink(runs.a, runs.folder.path / "link");
  fs::create_directory_symlink(checkpoint, runs.folder.path / "best");
  for (const std::string& name : {checkpoint.string(), checkpoint.string() + "/",
                                  (runs.a / "." / "checkpoints" / ".." / "checkpoints" / "step-00000010").string(),
                                  (runs.folder.path / "link/checkpoints/step-00000010").string(),
                                  (runs.folder.path / "best").string(), fs::relative(checkpoint).string()}) {
    INFO(name);
    const Resume resume = enter(runs.a, name);
    CHECK(resume.for_ranks() == name);
    resume.record_origin();
    CHECK_FALSE(fs::exists(runs.a / "resumed_from"));
  }
}

TEST_CASE("auto goes on from the folder's own checkpoints, else from its origin, else from the start") {
  const Runs runs;
  CHECK(enter(runs.b, "auto").for_ranks() == "auto");
  const fs::path checkpoint = Runs::commit(runs.a, "step-00000010");
  const std::string spelling = (runs.a / ".." / "a" / "checkpoints" / "step-00000010/").string();
  const Resume first = enter(runs.b, spelling);
  CHECK(first.for_ranks() == spelling);
  CHECK_FALSE(fs::exists(runs.b / "resumed_from"));  // looking changes nothing
  first.record_origin();
  CHECK(read_text(runs.b / "resumed_from") == checkpoint.string() + "\n");

  Runs::train(runs.b);
  CHECK(enter(runs.b, "auto").for_ranks() == checkpoint.string());
  CHECK(enter(runs.b, checkpoint.string()).for_ranks() == checkpoint.string());  // the same command again
  const fs::path moved = runs.folder.path / "moved";
  fs::rename(runs.b, moved);
  CHECK(enter(moved, "auto").for_ranks() == checkpoint.string());

  fs::rename(runs.a, runs.folder.path / "away");
  const test::Failure gone = refusal(moved, "auto");
  CHECK(gone.code == 66);
  CHECK_THAT(gone.message, Contains((moved / "resumed_from").string()) && Contains(checkpoint.string()) &&
                               Contains("bring that checkpoint back"));
  Runs::commit(moved, "step-00000011");
  CHECK(enter(moved, "auto").for_ranks() == "auto");
}

TEST_CASE("a start that nothing came of leaves its folder open") {
  const Runs runs;
  const std::string checkpoint = Runs::commit(runs.a, "step-00000010").string();
  const Resume resume = enter(runs.b, checkpoint);
  resume.record_origin();
  CHECK(refusal(runs.b, "none").code == 73);
  resume.forget_origin();
  CHECK(enter(runs.b, "none").for_ranks() == "none");
  resume.record_origin();
  enter(runs.b, "auto").forget_origin();  // it is not this start's
  CHECK(fs::exists(runs.b / "resumed_from"));
  Runs::train(runs.b);
  resume.forget_origin();
  CHECK(enter(runs.b, "auto").for_ranks() == checkpoint);
}

TEST_CASE("a checkpoint that is not there is an input that is missing") {
  const Runs runs;
  CHECK(refusal(runs.a, (runs.b / "none").string()).code == 66);
}

TEST_CASE("an origin that is no path is damage, never a fresh start") {
  const Runs runs;
  for (const char* text : {"", "\n", "runs/a\n", "/a\nb\n", "/\xff\n"}) {
    write_text_atomically(runs.a / "resumed_from", text);
    CHECK(refusal(runs.a, "auto").code == 65);
  }
}

TEST_CASE("a folder of checkpoints that cannot be read is an error, never a fresh start") {
  const Runs runs;
  write_text_atomically(runs.a / "checkpoints", "a file");
  for (const char* resume : {"none", "auto"}) CHECK(refusal(runs.a, resume).code == 73);
}

TEST_CASE("the command that goes on from none or auto") {
  const Runs runs;
  const Resume none = enter(runs.a, "none"), fresh = enter(runs.a, "auto");
  CHECK(next(none) == "again ");
  CHECK(next(fresh) == "again auto");
  Runs::train(runs.a);
  CHECK(next(none) == "again auto");
  Runs::commit(runs.a, "step-00000010");
  CHECK(next(none) == "resume auto");
  CHECK(next(fresh) == "resume auto");
  CHECK(next(enter(runs.a, "auto")) == "resume auto");
}

TEST_CASE("the command that goes on from a checkpoint elsewhere") {
  const Runs runs;
  const std::string checkpoint = Runs::commit(runs.a, "step-00000010").string();
  SECTION("its origin was recorded") {
    const Resume resume = enter(runs.b, checkpoint);
    resume.record_origin();
    CHECK(next(resume) == "resume auto");
    Runs::train(runs.b);
    CHECK(next(resume) == "resume auto");
    CHECK(next(enter(runs.b, "auto")) == "resume auto");
    Runs::commit(runs.b, "step-00000012");
    CHECK(next(resume) == "resume auto");
  }
  SECTION("its origin was recorded at the end only") {
    CHECK(next(enter(runs.b, checkpoint)) == "resume auto");
    CHECK(enter(runs.b, "auto").for_ranks() == checkpoint);
  }
  SECTION("its origin cannot be recorded") {
    fs::create_directory(runs.b / "resumed_from.tmp");
    const Resume resume = enter(runs.b, checkpoint);
    CHECK(test::failure_of([&] { resume.record_origin(); }).code == 74);
    CHECK(next(resume) == "resume " + checkpoint);
    Runs::train(runs.b);  // from here on the folder is closed to it
    CHECK(next(resume) == "nothing");
    Runs::commit(runs.b, "step-00000012");
    CHECK(next(resume) == "resume auto");
  }
}

TEST_CASE("the command that goes on from a checkpoint of its own says PATH until the later ones are left") {
  const Runs runs;
  const fs::path own = Runs::commit(runs.a, "step-00000010"), later = Runs::commit(runs.a, "step-00000020");
  Runs::commit(runs.a, "step-00000005");
  const Resume resume = enter(runs.a, own.string());
  CHECK(next(resume) == "resume " + own.string());
  const fs::path left = runs.a / "checkpoints/abandoned-10-20260101T000000Z";
  fs::create_directory(left);
  fs::rename(later, left / "step-00000020");
  CHECK(next(resume) == "resume auto");
  Runs::commit(runs.a, "step-00000020");  // another one
  CHECK(next(resume) == "resume auto");

  // And back to the past that was left: auto would go on from the other one.
  const Resume back = enter(runs.a, (left / "step-00000020").string());
  back.record_origin();
  CHECK(next(back) == "resume " + (left / "step-00000020").string());
  fs::rename(runs.a / "checkpoints/step-00000020", runs.folder.path / "elsewhere");
  CHECK(next(back) == "resume " + (left / "step-00000020").string());
  Runs::commit(runs.a, "step-00000021");
  CHECK(next(back) == "resume auto");
  for (const auto& entry : fs::directory_iterator(runs.a / "checkpoints"))
    if (entry.path().filename().string().starts_with("step-")) fs::remove_all(entry.path());
  CHECK(next(back) == "resume auto");  // by its origin
  CHECK(enter(runs.a, "auto").for_ranks() == (left / "step-00000020").string());
}

TEST_CASE("the command that goes on from the best says PATH until its step is a checkpoint again") {
  const Runs runs;
  const fs::path best = Runs::commit(runs.a, "best"), older = Runs::commit(runs.a, "step-00000005"),
                 later = Runs::commit(runs.a, "step-00000020");
  const Resume resume = enter(runs.a, best.string());
  resume.record_origin();
  CHECK_FALSE(fs::exists(runs.a / "resumed_from"));
  CHECK(next(resume) == "resume " + best.string());
  const fs::path left = runs.a / "checkpoints/abandoned-10-20260101T000000Z";
  fs::create_directory(left);
  fs::rename(later, left / "step-00000020");
  CHECK(next(resume) == "resume " + best.string());  // auto would go on from step 5
  Runs::commit(runs.a, "step-00000010");
  CHECK(next(resume) == "resume auto");
}

TEST_CASE("what the ranks do not take for a checkpoint is none for the launcher either") {
  const Runs runs;
  const fs::path origin = Runs::commit(runs.a, "step-00000010");
  enter(runs.b, origin.string()).record_origin();
  fs::create_directories(runs.b / "checkpoints");
  SECTION("a file") { write_text_atomically(runs.b / "checkpoints" / "step-00000030", "a note"); }
  SECTION("a copy under another name") { Runs::commit(runs.b, "step-00000030.bak"); }
  SECTION("another spelling of a number") { Runs::commit(runs.b, "step-30"); }
  CHECK(enter(runs.b, "auto").for_ranks() == origin);
}
