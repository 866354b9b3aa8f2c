// SPDX-License-Identifier: Apache-2.0
#include "engine/channel/post_copy_due.h"

namespace godwit {

bool post_copy_is_due(PostCopy wanted, const ChannelProgress& progress) {
  // A VMM that does not say how much memory there is has not begun.
  if (wanted == PostCopy::kNever || progress.ram_bytes == 0) return false;
  if (wanted == PostCopy::kNow) return true;
  const precopy::PolicyLimits limits;
  if (progress.round > limits.post_copy_rounds_max) return true;
  return progress.round > 1 &&
         static_cast<double>(progress.sent_bytes + progress.remaining_bytes) >
             limits.post_copy_sent_share_max * static_cast<double>(progress.ram_bytes);
}

}  // namespace godwit
