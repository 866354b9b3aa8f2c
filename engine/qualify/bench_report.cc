// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/bench_report.h"

#include "engine/base/check.h"

namespace godwit::qualify {

const char* to_string(Verb verb) {
  switch (verb) {
    case Verb::kWrite:
      return "write";
    case Verb::kRead:
      return "read";
    case Verb::kMessage:
      return "message";
    case Verb::kFault:
      return "fault";
  }
  CHECK(false && "a Verb outside its enumerators");
}

const char* to_string(Load load) {
  switch (load) {
    case Load::kNone:
      return "none";
    case Load::kFull:
      return "full";
  }
  CHECK(false && "a Load outside its enumerators");
}

}  // namespace godwit::qualify
