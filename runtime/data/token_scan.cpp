#include "runtime/data/token_scan.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/start_thread.h"

namespace ddp {
namespace {

using Json = nlohmann::json;

constexpr int64_t kPieceTokens = 1 << 20;

struct Piece {
  size_t file;
  int64_t begin, end;
};
struct Bad {
  size_t file;
  int64_t index;
};

std::vector<Piece> pieces_of(const std::vector<TokenFile>& files) {
  std::vector<Piece> pieces;
  for (size_t f = 0; f < files.size(); ++f)
    if (files[f].doubtful_bytes() > 0)
      for (int64_t begin = 0; begin < files[f].num_tokens(); begin += kPieceTokens)
        pieces.push_back({f, begin, std::min(files[f].num_tokens(), begin + kPieceTokens)});
  return pieces;
}

[[noreturn]] void fail_at(const std::vector<TokenFile>& files, const Bad& bad) {
  int32_t token;
  std::vector<std::byte> scratch;
  files[bad.file].read(bad.index, {&token, 1}, scratch);
  throw Error(ExitCode::data, files[bad.file].path().string() + " changes while it is read");
}

// Threads take pieces in order, so that where one is bad all before it are taken, and are looked through to their end.
class Scan {
 public:
  Scan(const std::vector<TokenFile>& files, const DataCheck& check)
      : files_(files), check_(check), pieces_(pieces_of(files)), end_(pieces_.size()) {}

  std::optional<Bad> run() {
    {
      std::vector<std::jthread> others;
      try {
        for (int i = 1; i < check_.threads; ++i)
          others.push_back(start_thread<std::jthread>("a scanning thread", [this] { work(); }));
      } catch (const Error&) {}  // those that did start will do
      work();
    }
    if (error_) std::rethrow_exception(error_);
    return bad_;
  }
  bool is_stopped() const { return check_.stop != nullptr && check_.stop->load(std::memory_order_relaxed); }

 private:
  void work() {
    std::vector<std::byte> scratch;
    try {
      for (size_t i = next_++; i < end_ && !is_stopped(); i = next_++) {
        const Piece& piece = pieces_[i];
        const int64_t index = files_[piece.file].find_bad(piece.begin, piece.end, scratch);
        check_.still_alive();
        if (index >= 0) take({piece.file, index}, i);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
      end_ = 0;
    }
  }

  void take(const Bad& bad, size_t piece) {
    const std::lock_guard lock(mutex_);
    if (piece >= end_) return;
    bad_ = bad;
    end_ = piece;
  }

  const std::vector<TokenFile>& files_;
  const DataCheck& check_;
  const std::vector<Piece> pieces_;
  std::atomic<size_t> next_{0}, end_;  // pieces from end_ on need not be looked at
  std::mutex mutex_;
  std::optional<Bad> bad_;
  std::exception_ptr error_;
};

Json identities(const std::vector<TokenFile>& files) {
  Json all = Json::array();
  for (const TokenFile& file : files) all.push_back(file.path().string() + ": " + file.identity());
  return all;
}

void remember(const std::vector<TokenFile>& files, const std::optional<Bad>& bad,
              const std::filesystem::path& verdict) {
  if (verdict.empty()) return;
  Json json = {{"files", identities(files)}, {"bad", nullptr}};
  if (bad) json["bad"] = {{"file", bad->file}, {"index", bad->index}};
  try {
    write_text_atomically(verdict, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  } catch (const Error&) {
    // A full disk: the next start looks again.
  }
}

// What is there is of another start, and may be anything: a token that it calls bad is looked at again.
bool is_known_good(const std::vector<TokenFile>& files, const std::filesystem::path& verdict) {
  std::error_code error;
  if (verdict.empty() || !std::filesystem::exists(verdict, error)) return false;
  try {
    const Json json = Json::parse(read_text(verdict));
    if (json.at("files") != identities(files)) return false;
    const Json& bad = json.at("bad");
    if (bad.is_null()) return true;
    const Bad at{bad.at("file").get<size_t>(), bad.at("index").get<int64_t>()};
    if (at.file >= files.size() || at.index < 0 || at.index >= files[at.file].num_tokens()) return false;
    std::vector<std::byte> scratch;
    if (files[at.file].find_bad(at.index, at.index + 1, scratch) == at.index) fail_at(files, at);
  } catch (const Json::exception&) {}
  return false;
}

}  // namespace

int64_t unchecked_bytes(const std::vector<TokenFile>& files, const std::filesystem::path& verdict) {
  int64_t bytes = 0;
  for (const TokenFile& file : files) bytes += file.doubtful_bytes();
  return bytes == 0 || is_known_good(files, verdict) ? 0 : bytes;
}

void check_tokens(const std::vector<TokenFile>& files, const DataCheck& check) {
  Scan scan(files, check);
  const std::optional<Bad> bad = scan.run();
  if (!bad && scan.is_stopped()) return;
  remember(files, bad, check.verdict);
  if (bad) fail_at(files, *bad);
}

}  // namespace ddp
