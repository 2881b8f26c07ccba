#include <catch2/catch.hpp>
#include <cmath>

#include "runtime/metrics/text.h"

namespace ddp {
namespace {

TEST_CASE("durations read like a clock") {
  CHECK(duration_text(0) == "0:00");
  CHECK(duration_text(36.6) == "0:37");
  CHECK(duration_text(59.6) == "1:00");
  CHECK(duration_text(3599.4) == "59:59");
  CHECK(duration_text(3727) == "1:02:07");
  CHECK(duration_text(3 * 86400 + 4 * 3600 + 5 * 60 + 6) == "3 d 4:05");
  CHECK(duration_text(NAN) == "?");
  CHECK(duration_text(-1) == "?");
  CHECK(duration_text(INFINITY) == "?");
}

TEST_CASE("counts have three digits and a unit") {
  CHECK(count_text(0) == "0");
  CHECK(count_text(512.4) == "512");
  CHECK(count_text(999.4) == "999");
  CHECK(count_text(999.6) == "1.00k");
  CHECK(count_text(3614) == "3.61k");
  CHECK(count_text(9999) == "10.0k");
  CHECK(count_text(43512) == "43.5k");
  CHECK(count_text(156'000) == "156k");
  CHECK(count_text(1.2e6) == "1.20M");
  CHECK(count_text(2e15) == "2000T");
}

TEST_CASE("bytes come in powers of 1024") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1024) == "1.0 KiB");
  CHECK(bytes_text(12 << 20) == "12 MiB");
  CHECK(bytes_text((int64_t(3) << 30) / 2) == "1.5 GiB");
  CHECK(bytes_text((int64_t(1) << 30) - 1) == "1.0 GiB");
}

TEST_CASE("milliseconds drop what nobody reads") {
  CHECK(brief_ms_text(0) == "0");
  CHECK(brief_ms_text(0.62) == "0.6");
  CHECK(brief_ms_text(3.01) == "3");
  CHECK(brief_ms_text(4.1) == "4.1");
  CHECK(brief_ms_text(9.97) == "10");
  CHECK(brief_ms_text(180.4) == "180");
}

TEST_CASE("the bar fills from left to right") {
  CHECK(bar_text(0, 100) == "[>         ]");
  CHECK(bar_text(45, 100) == "[====>     ]");
  CHECK(bar_text(99, 100) == "[=========>]");
  CHECK(bar_text(100, 100) == "[==========]");
  CHECK(bar_text(7, 0) == "[>         ]");
}

}  // namespace
}  // namespace ddp
