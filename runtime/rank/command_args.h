// The arguments that ddp-launch passes to ddp-rank for its own commands: pairs "--name value", already checked there. A
// value may look like a name: a prompt is any text.
#pragma once

#include <map>
#include <span>
#include <string>

namespace ddp {

class CommandArgs {
 public:
  explicit CommandArgs(std::span<char*> args);

  bool has(const std::string& name) const { return values_.contains(name); }
  // Errors: usage (64) when the argument is missing or no number.
  const std::string& text(const std::string& name) const;
  int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;

 private:
  std::map<std::string, std::string> values_;  // by name with its dashes
};

}  // namespace ddp
