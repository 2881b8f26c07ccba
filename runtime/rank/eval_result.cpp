#include "runtime/rank/eval_result.h"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/metrics/console_sink.h"

namespace ddp {
namespace {

using Json = nlohmann::ordered_json;

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

std::string eval_line(const Evaluation& done) {
  const EvalRecord& record = done.record;
  const bool tells_bytes = !std::isnan(record.bits_per_byte);
  return fmt::format(
      "eval {}: {}{}, {} samples in {:.2f} s",
      record.step > 0 ? fmt::format("at step {}", record.step) : "of model.init_from", eval_text(record),
      std::isnan(done.perplexity) || tells_bytes ? "" : fmt::format(", perplexity {:.2f}", done.perplexity),
      done.record.samples, done.seconds);
}

std::string eval_json(const Evaluation& done) {
  const EvalRecord& record = done.record;
  Json json = {{"source", done.source},
               {"step", record.step > 0 ? Json(record.step) : Json(nullptr)},
               {"loss", number_or_null(record.loss)},
               {"bits_per_byte", number_or_null(record.bits_per_byte)},
               {"perplexity", number_or_null(done.perplexity)}};
  for (const auto& [name, share] : record.shares) json[std::string(name)] = number_or_null(share);
  json["samples"] = done.record.samples;
  json["seconds"] = done.seconds;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ddp
