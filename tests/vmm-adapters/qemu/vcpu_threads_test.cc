// SPDX-License-Identifier: Apache-2.0
#include "vmm-adapters/qemu/vcpu_threads.h"

#include <gtest/gtest.h>

namespace godwit::qemu {
namespace {

TEST(VcpuThreads, AreInTheOrderOfTheVcpusNumbers) {
  const Json cpus = Json::parse(R"([{"cpu-index": 2, "thread-id": 30},
                                    {"cpu-index": 0, "thread-id": 10, "qom-path": "/x"}])");

  EXPECT_EQ(vcpu_threads_in(cpus), (std::vector<pid_t>{10, 0, 30}));
}

TEST(VcpuThreads, AreNoneWhereTheAnswerIsStrange) {
  for (const char* answer : {"{}", "[]", "[7]", R"([{"cpu-index": -1, "thread-id": 3}])",
                             R"([{"cpu-index": 900000000, "thread-id": 3}])"}) {
    EXPECT_TRUE(vcpu_threads_in(Json::parse(answer)).empty()) << answer;
  }
}

}  // namespace
}  // namespace godwit::qemu
