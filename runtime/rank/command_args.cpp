#include "runtime/rank/command_args.h"

#include "runtime/base/error.h"
#include "runtime/base/number.h"

namespace ddp {
namespace {

template <class T>
T parse(const std::string& name, const std::string& text) {
  const std::optional<T> value = parse_number<T>(text);
  if (!value) throw Error(ExitCode::usage, "ddp-rank: " + name + " " + text + " is not a number");
  return *value;
}

}  // namespace

CommandArgs::CommandArgs(std::span<char*> args) {
  for (size_t i = 0; i + 1 < args.size(); i += 2) values_[args[i]] = args[i + 1];
}

const std::string& CommandArgs::text(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw Error(ExitCode::usage, "ddp-rank: " + name + " is missing");
  return found->second;
}

int64_t CommandArgs::integer(const std::string& name) const { return parse<int64_t>(name, text(name)); }
double CommandArgs::number(const std::string& name) const { return parse<double>(name, text(name)); }

}  // namespace ddp
