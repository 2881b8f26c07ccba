// A list of ops by their argument structs. Each family of kernels/ops ends with its own; kernels/ops.h joins them. What
// has something for every op (an op table) is made by a loop over the list.
#pragma once

#include <type_traits>

namespace ddp {

template <class... Args>
struct OpList {
  // Calls f.operator()<Args>() for each op.
  template <class F>
  static constexpr void for_each(F f) {
    (f.template operator()<Args>(), ...);
  }

  template <class Op>
  static constexpr bool has = (std::is_same_v<Op, Args> || ...);

  // T<Args> of each op, as Holder's parameters.
  template <template <class...> class Holder, template <class> class T>
  using Each = Holder<T<Args>...>;
};

// OpList of all that the lists hold.
template <class... Lists>
struct JoinOps;
template <class... Args>
struct JoinOps<OpList<Args...>> {
  using List = OpList<Args...>;
};
template <class... A, class... B, class... Rest>
struct JoinOps<OpList<A...>, OpList<B...>, Rest...> : JoinOps<OpList<A..., B...>, Rest...> {};

}  // namespace ddp
