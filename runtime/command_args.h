// The arguments that ddp-launch passes to ddp-rank for its own commands: "--name value" pairs and "--flag"s, already
// checked there.
#pragma once

#include <map>
#include <span>
#include <string>

namespace ddp {

class CommandArgs {
 public:
  // A name followed by another name, or by nothing, is a flag.
  explicit CommandArgs(std::span<char*> args);

  bool has(const std::string& name) const { return values_.contains(name); }
  // Errors: 64 when the argument is missing or no number.
  const std::string& text(const std::string& name) const;
  int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;

 private:
  std::map<std::string, std::string> values_;  // by name with its dashes
};

}  // namespace ddp
