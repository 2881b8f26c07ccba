// What a key of the configuration may be set to by name, as an enum with the table of its names beside it. Code
// switches over the enum; no string is compared once a configuration is read. An enumerator that the table leaves out
// cannot be chosen; one that a switch leaves out does not compile, whatever the warning options:
#pragma once

#pragma GCC diagnostic error "-Wswitch"

#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/base/check.h"

namespace ddp {

template <class Enum>
struct Named {
  Enum value;
  std::string_view name;
};

enum class PrecisionName : uint8_t { fp32, tf32, bf16, fp16 };
inline constexpr Named<PrecisionName> kPrecisionNames[] = {{PrecisionName::fp32, "fp32"},
                                                           {PrecisionName::tf32, "tf32"},
                                                           {PrecisionName::bf16, "bf16"},
                                                           {PrecisionName::fp16, "fp16"}};
constexpr std::span<const Named<PrecisionName>> names_of(PrecisionName) { return kPrecisionNames; }

enum class GradDtype : uint8_t {
  automatic,  // as precision
  fp32,
};
inline constexpr Named<GradDtype> kGradDtypeNames[] = {{GradDtype::automatic, "auto"}, {GradDtype::fp32, "fp32"}};
constexpr std::span<const Named<GradDtype>> names_of(GradDtype) { return kGradDtypeNames; }

// Whether calls of NCCL return only when their work is on the stream. Non-blocking ones are polled, so that no dead
// peer can hold the host; but from NCCL 2.23.4 on a thread of NCCL's launches their work, which a capture may miss.
enum class NcclBlocking : uint8_t {
  automatic,  // no, unless collectives are to be captured and a self-check at the start finds that this fails
  yes,
  no,
};
inline constexpr Named<NcclBlocking> kNcclBlockingNames[] = {
    {NcclBlocking::automatic, "auto"}, {NcclBlocking::yes, "true"}, {NcclBlocking::no, "false"}};
constexpr std::span<const Named<NcclBlocking>> names_of(NcclBlocking) { return kNcclBlockingNames; }

enum class OptimizerName : uint8_t { adamw, sgd };
inline constexpr Named<OptimizerName> kOptimizerNames[] = {{OptimizerName::adamw, "adamw"},
                                                           {OptimizerName::sgd, "sgd"}};
constexpr std::span<const Named<OptimizerName>> names_of(OptimizerName) { return kOptimizerNames; }

enum class ScheduleName : uint8_t { cosine, linear, polynomial, step, constant };
inline constexpr Named<ScheduleName> kScheduleNames[] = {{ScheduleName::cosine, "cosine"},
                                                         {ScheduleName::linear, "linear"},
                                                         {ScheduleName::polynomial, "polynomial"},
                                                         {ScheduleName::step, "step"},
                                                         {ScheduleName::constant, "constant"}};
constexpr std::span<const Named<ScheduleName>> names_of(ScheduleName) { return kScheduleNames; }

// How a training sample differs from its picture, and so what evaluation sees; runtime/data/images/view.h has what each
// does.
enum class Augment : uint8_t {
  automatic,  // once a configuration is read: the format has no pictures
  none,
  flip,
  shift,
  resized_crop,
};
inline constexpr Named<Augment> kAugmentNames[] = {{Augment::automatic, "auto"},
                                                   {Augment::none, "none"},
                                                   {Augment::flip, "flip"},
                                                   {Augment::shift, "shift"},
                                                   {Augment::resized_crop, "resized_crop"}};
constexpr std::span<const Named<Augment>> names_of(Augment) { return kAugmentNames; }

// What a picture that cannot be decoded does to a run.
enum class OnCorrupt : uint8_t { skip, stop };
inline constexpr Named<OnCorrupt> kOnCorruptNames[] = {{OnCorrupt::skip, "skip"}, {OnCorrupt::stop, "stop"}};
constexpr std::span<const Named<OnCorrupt>> names_of(OnCorrupt) { return kOnCorruptNames; }

// The width of the tokens of a file that has no header to say it.
enum class TokenBytes : uint8_t {
  automatic,  // by the vocabulary, and refused where the bytes show another kind of file
  two,
  four,
};
inline constexpr Named<TokenBytes> kTokenBytesNames[] = {
    {TokenBytes::automatic, "auto"}, {TokenBytes::two, "2"}, {TokenBytes::four, "4"}};
constexpr std::span<const Named<TokenBytes>> names_of(TokenBytes) { return kTokenBytesNames; }

// Which number of an evaluation says that a checkpoint is the run's best.
enum class BestBy : uint8_t { none, loss, accuracy };
inline constexpr Named<BestBy> kBestByNames[] = {
    {BestBy::none, "none"}, {BestBy::loss, "loss"}, {BestBy::accuracy, "accuracy"}};
constexpr std::span<const Named<BestBy>> names_of(BestBy) { return kBestByNames; }

template <class Enum>
std::string_view name_of(Enum value) {
  for (const Named<Enum>& choice : names_of(value))
    if (choice.value == value) return choice.name;
  DDP_CHECK(false, "choice {} has no name", int(value));
  return {};
}

// `name` is in the table.
template <class Enum>
Enum named(std::string_view name) {
  for (const Named<Enum>& choice : names_of(Enum()))
    if (choice.name == name) return choice.value;
  DDP_CHECK(false, "no choice is named {}", name);
  return Enum();
}

}  // namespace ddp
