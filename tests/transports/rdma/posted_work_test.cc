// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/posted_work.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>
#include <vector>

namespace godwit {
namespace {

uint64_t post_with(PostedWork& work, std::initializer_list<uint64_t> tags) {
  for (uint64_t tag : tags) work.add_operation(tag);
  return work.post();
}

std::vector<uint64_t> taken_tags(PostedWork& work, OpStatus expected) {
  std::array<Completion, 64> completions;
  const size_t count = work.take(completions);
  std::vector<uint64_t> tags;
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(completions[i].status, expected);
    tags.push_back(completions[i].tag);
  }
  return tags;
}

TEST(PostedWork, OneCompletionStandsForAllRequestsBeforeIt) {
  PostedWork work(8, 16);
  post_with(work, {1, 2});
  const uint64_t signalled = post_with(work, {3});
  post_with(work, {4});

  work.complete(signalled);

  EXPECT_EQ(taken_tags(work, OpStatus::kOk), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_TRUE(work.has_operations());
}

TEST(PostedWork, ARequestWithoutOperationsCompletesWithoutAny) {
  PostedWork work(8, 16);
  const uint64_t message = work.post();

  work.complete(message);

  EXPECT_TRUE(work.is_complete(message));
  EXPECT_TRUE(taken_tags(work, OpStatus::kOk).empty());
}

TEST(PostedWork, WhatIsNotCompleteAtTheEndIsFlushed) {
  PostedWork work(8, 16);
  const uint64_t first = post_with(work, {1});
  const uint64_t second = post_with(work, {2, 3});
  work.complete(first);

  work.let_go(second);
  work.end();

  std::array<Completion, 8> completions;
  ASSERT_EQ(work.take(completions), 3U);
  EXPECT_EQ(completions[0].status, OpStatus::kOk);
  EXPECT_EQ(completions[1].status, OpStatus::kFlushed);
  EXPECT_EQ(completions[2].status, OpStatus::kFlushed);
  EXPECT_FALSE(work.has_operations());
}

TEST(PostedWork, RoomComesBackWithCompletionsAndWithTaking) {
  PostedWork work(2, 3);
  post_with(work, {1, 2});
  const uint64_t last = post_with(work, {3});
  EXPECT_EQ(work.requests_free(), 0U);
  EXPECT_EQ(work.operations_free(), 0U);

  work.complete(last);
  EXPECT_EQ(work.requests_free(), 2U);
  EXPECT_EQ(work.operations_free(), 0U);

  EXPECT_EQ(taken_tags(work, OpStatus::kOk).size(), 3U);
  EXPECT_EQ(work.operations_free(), 3U);
}

TEST(PostedWork, AgreesWithAQueueOverManyRandomSteps) {
  std::mt19937_64 random(4);
  PostedWork work(7, 19);
  std::deque<uint64_t> expected;
  uint64_t next_tag = 1;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0 && work.requests_free() > 0) {
      for (uint64_t count = random() % 4; count > 0 && work.operations_free() > 0; --count) {
        expected.push_back(next_tag);
        work.add_operation(next_tag++);
      }
      work.post();
    } else {
      work.complete(random() % 2 == 0 ? work.last_posted() : work.last_posted() / 2);
    }
    for (uint64_t tag : taken_tags(work, OpStatus::kOk)) {
      ASSERT_EQ(tag, expected.front());
      expected.pop_front();
    }
  }
  work.complete(work.last_posted());
  EXPECT_EQ(taken_tags(work, OpStatus::kOk),
            std::vector<uint64_t>(expected.begin(), expected.end()));
}

}  // namespace
}  // namespace godwit
