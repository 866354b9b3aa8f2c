// SPDX-License-Identifier: Apache-2.0
#include "engine/migration/interruption.h"

#include <utility>

namespace godwit {

Interruption::Hook::Hook(Hook&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), id_(other.id_) {}

Interruption::Hook& Interruption::Hook::operator=(Hook&& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(id_, other.id_);
  return *this;
}

Interruption::Hook::~Hook() {
  if (owner_ == nullptr) return;
  // Hooks run under this lock, so past it ours is neither running nor listed.
  std::lock_guard lock(owner_->mutex_);
  owner_->hooks_.erase(id_);
}

void Interruption::raise(const Error& error) {
  std::lock_guard lock(mutex_);
  if (sealed_ || raised_.load(std::memory_order_relaxed)) return;
  error_ = error;
  raised_.store(true, std::memory_order_release);
  for (const auto& [id, wake] : hooks_) wake();
}

Status Interruption::check() const {
  if (!raised()) return {};
  std::lock_guard lock(mutex_);
  return tl::unexpected<Error>(error_);
}

Error Interruption::cause_of(const Error& error) const {
  const Status raised = check();
  return !raised && raised.error().code == Errc::kCancelled ? raised.error() : error;
}

Status Interruption::seal() {
  std::lock_guard lock(mutex_);
  if (raised_.load(std::memory_order_relaxed)) return tl::unexpected<Error>(error_);
  sealed_ = true;
  return {};
}

Interruption::Hook Interruption::on_raise(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  if (raised_.load(std::memory_order_relaxed)) wake();
  const uint64_t id = next_id_++;
  hooks_.emplace(id, std::move(wake));
  return Hook(this, id);
}

}  // namespace godwit
