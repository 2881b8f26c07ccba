#include "runtime/comm/collective_record.h"

#include <fmt/core.h>

namespace ddp {

const char* collective_name(Collective op) {
  switch (op) {
    case Collective::none:
      return "no collective";
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::broadcast:
      return "broadcast";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_gather:
      return "all_gather";
    case Collective::barrier:
      return "barrier";
  }
  return "?";
}

bool CollectiveRecord::matches(const CollectiveRecord& other) const {
  return number == other.number && op == other.op && dtype == other.dtype && staged == other.staged &&
         root == other.root && bytes == other.bytes;
}

std::string CollectiveRecord::text() const {
  std::string out = fmt::format("{} #{}", collective_name(op), number);
  if (op == Collective::barrier || op == Collective::none) return out;
  out += fmt::format(" of {} bytes {}", bytes, dtype_name(dtype));
  if (root >= 0) out += fmt::format(" from rank {}", root);
  return out + (staged ? " outside symmetric memory" : "");
}

}  // namespace ddp
