// SPDX-License-Identifier: Apache-2.0
//
// The protocol of pre-copy, switchover, post-copy and resume, in every order in which its steps
// and a few failures can fall; and the same with a mistake built in, which must be found.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "tests/model/explorer.h"

namespace godwit::model {
namespace {

std::string lines(const std::vector<std::string>& trace) {
  std::string text;
  for (const std::string& step : trace) text += "\n  " + step;
  return text;
}

void print(const Exploration& result) {
  std::printf("%lu states, %lu steps, %lu of them ends\n", result.states, result.steps,
              result.final_states);
}

struct Size {
  uint8_t pages;
  uint8_t source_writes;
  uint8_t failures;
};

class MigrationModel : public testing::TestWithParam<Size> {};

TEST_P(MigrationModel, KeepsItsPromisesInEveryOrderOfSteps) {
  const auto [pages, source_writes, failures] = GetParam();

  const Exploration result =
      explore({.pages = pages, .source_writes = source_writes, .failures = failures});

  print(result);
  EXPECT_EQ(result.violation, Violation::kNone)
      << to_string(result.violation) << lines(result.trace);
  EXPECT_GT(result.final_states, 0U);
}

INSTANTIATE_TEST_SUITE_P(Sizes, MigrationModel, testing::Values(Size{2, 2, 2}, Size{3, 0, 1}),
                         [](const testing::TestParamInfo<Size>& size) {
                           return std::to_string(size.param.pages) + "Pages" +
                                  std::to_string(size.param.source_writes) + "Writes" +
                                  std::to_string(size.param.failures) + "Failures";
                         });

struct Mistake {
  const char* name;
  Bug bug;
  Violation found;
};

class MigrationModelMistake : public testing::TestWithParam<Mistake> {};

TEST_P(MigrationModelMistake, IsFound) {
  const Exploration result =
      explore({.pages = 2, .source_writes = 1, .failures = 1, .bug = GetParam().bug});

  print(result);
  EXPECT_EQ(result.violation, GetParam().found)
      << to_string(result.violation) << lines(result.trace);
  EXPECT_FALSE(result.trace.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Each, MigrationModelMistake,
    testing::Values(
        Mistake{"InstallsBeforeMarking", Bug::kInstallsBeforeMarking,
                Violation::kWrittenAfterInstall},
        Mistake{"MarksBeforeArrival", Bug::kMarksBeforeArrival, Violation::kStalePage},
        Mistake{"NoWakeAfterGiveBack", Bug::kNoWakeAfterGiveBack, Violation::kForgottenFault},
        Mistake{"NoWakeAfterResume", Bug::kNoWakeAfterResume, Violation::kForgottenFault},
        Mistake{"ForgetsReceivedOnResume", Bug::kForgetsReceivedOnResume,
                Violation::kWrittenAfterInstall},
        Mistake{"GivesBackBeforeClosing", Bug::kGivesBackBeforeClosing,
                Violation::kWrittenAfterInstall},
        Mistake{"ResendsBeforeClosing", Bug::kResendsBeforeClosing,
                Violation::kWrittenAfterInstall},
        Mistake{"RoundsOverlap", Bug::kRoundsOverlap, Violation::kStalePage},
        Mistake{"DoesNotDrainPrecopy", Bug::kDoesNotDrainPrecopy, Violation::kStalePage},
        Mistake{"MissingSetBeforeLastScan", Bug::kMissingSetBeforeLastScan, Violation::kStalePage},
        Mistake{"DisarmsWhilePagesAreMissing", Bug::kDisarmsWhilePagesAreMissing,
                Violation::kStalePage},
        Mistake{"SourceResumesAfterCommit", Bug::kSourceResumesAfterCommit, Violation::kTwoOwners},
        Mistake{"CommitToldBeforeWritten", Bug::kCommitToldBeforeWritten, Violation::kTwoOwners},
        Mistake{"StartsBeforeCommit", Bug::kStartsBeforeCommit, Violation::kTwoOwners},
        Mistake{"DecisionNotRepeated", Bug::kDecisionNotRepeated, Violation::kCannotFinish}),
    [](const testing::TestParamInfo<Mistake>& mistake) { return mistake.param.name; });

}  // namespace
}  // namespace godwit::model
