// SPDX-License-Identifier: Apache-2.0
#include "transports/rdma/registrar.h"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace godwit {
namespace {

// To allocate and pin memory is work for the CPU and the kernel's memory management, which a few
// threads saturate.
constexpr unsigned kThreadsMax = 4;

}  // namespace

Result<std::shared_ptr<KeyMailbox>> KeyMailbox::make() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return fail_errno(errno, "create an eventfd");
  return std::shared_ptr<KeyMailbox>(new KeyMailbox(std::move(event)));
}

void KeyMailbox::put(const KeyMessage& answer) {
  std::lock_guard lock(mutex_);
  answers_.push_back(answer);
  count_.store(answers_.size(), std::memory_order_release);
  const uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof(one));
}

void KeyMailbox::take(std::vector<KeyMessage>& answers) {
  std::lock_guard lock(mutex_);
  uint64_t count = 0;
  (void)!::read(event_.get(), &count, sizeof(count));
  answers.insert(answers.end(), answers_.begin(), answers_.end());
  answers_.clear();
  count_.store(0, std::memory_order_release);
}

Registrar::Registrar() {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1U, kThreadsMax);
  for (unsigned i = 0; i < threads; ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

Registrar::~Registrar() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

Result<uint64_t> Registrar::publish(std::weak_ptr<PinnedChunks> chunks) {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number))
    return fail_errno(errno, "draw a random number");
  std::lock_guard lock(mutex_);
  published_[number] = std::move(chunks);
  return number;
}

void Registrar::want(const KeyMessage& question, std::shared_ptr<KeyMailbox> mailbox) {
  std::lock_guard lock(mutex_);
  const auto found = published_.find(question.region);
  std::shared_ptr<PinnedChunks> chunks = found == published_.end() ? nullptr : found->second.lock();
  if (chunks == nullptr || question.chunk >= chunks->map().count()) {
    KeyMessage answer = question;
    answer.kind = KeyMessageKind::kFailed;
    answer.error = ENOENT;
    return mailbox->put(answer);
  }
  tasks_.push_back({question, std::move(chunks), std::move(mailbox)});
  changed_.notify_one();
}

void Registrar::work(const std::stop_token& stop) {
  while (true) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return !tasks_.empty(); })) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    KeyMessage answer = task.question;
    const Result<const ibv_mr*> region = task.chunks->ensure(task.question.chunk);
    if (region) {
      answer.kind = KeyMessageKind::kReady;
      answer.key = (*region)->rkey;
    } else {
      answer.kind = KeyMessageKind::kFailed;
      answer.error = static_cast<uint32_t>(region.error().os_errno);
    }
    task.mailbox->put(answer);
  }
}

}  // namespace godwit
