// The one order in which ranks add: the aligned pairwise tree. Over n sources it splits at the largest power of two
// below n, so 2: 0+1, 3: (0+1)+2, 4: (0+1)+(2+3), 6: ((0+1)+(2+3))+(4+5), and for a power of two it is the tree of
// halves. A left-to-right sum would be as fast, but would not be the same for 1, 2 and 4 ranks that share the same
// lanes.
#pragma once

#include <cstdint>
#include <span>

namespace ddp {

// out[i] = the tree over s of sources[s][i], for i in [0, n), for every `out` of outs. Either there is one out, or the
// outs are exactly the sources (a sum in place, the result to each of them). An out may be a source, but must not
// overlap one otherwise. Instantiated for float, double, Half and BFloat16; the latter two are added as floats, and the
// sum is rounded once.
template <class T>
void tree_sum(std::span<T* const> outs, std::span<const T* const> sources, int64_t n);

}  // namespace ddp
