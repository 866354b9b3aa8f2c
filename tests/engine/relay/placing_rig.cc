// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/relay/placing_rig.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "engine/base/check.h"
#include "transports/tcp/tcp_transport.h"
#include "vmm-adapters/linux/unix_stream.h"

namespace godwit::relay {
namespace {

// Reads less at a time than it could.
class CutStream final : public VmmStream {
 public:
  CutStream(std::unique_ptr<VmmStream> whole, size_t piece_bytes_max, uint64_t seed)
      : whole_(std::move(whole)), piece_bytes_max_(piece_bytes_max), random_(seed) {}

  Result<Progress> read(std::span<std::byte> bytes) override {
    return whole_->read(bytes.first(std::min(bytes.size(), 1 + random_() % piece_bytes_max_)));
  }
  Result<Progress> write(std::span<const std::byte> bytes) override { return whole_->write(bytes); }
  Status wait_readable() override { return whole_->wait_readable(); }
  Status wait_writable() override { return whole_->wait_writable(); }
  void end_reading() override { whole_->end_reading(); }
  void end_writing() override { whole_->end_writing(); }
  void shut_down() override { whole_->shut_down(); }
  int fd() const override { return whole_->fd(); }

 private:
  const std::unique_ptr<VmmStream> whole_;
  const size_t piece_bytes_max_;
  std::mt19937_64 random_;
};

// Carries out what was posted when somebody waits for it, and no sooner: what was written over
// meanwhile arrives wrong.
class LateEndpoint final : public Endpoint {
 public:
  explicit LateEndpoint(std::unique_ptr<Endpoint> endpoint) : endpoint_(std::move(endpoint)) {}

  Result<size_t> post_writes(std::span<const TransferOp> ops, SourceMemory memory) override {
    for (const TransferOp& op : ops) posted_.emplace_back(op, memory);
    return ops.size();
  }
  Result<size_t> post_reads(std::span<const TransferOp> ops) override {
    return endpoint_->post_reads(ops);
  }
  Result<size_t> poll(std::span<Completion> completions, Deadline deadline) override {
    if (deadline > deadline_in(milliseconds(100))) RETURN_IF_ERROR(carry_out());
    return endpoint_->poll(completions, deadline);
  }
  Status flush(Deadline deadline) override {
    RETURN_IF_ERROR(carry_out());
    return endpoint_->flush(deadline);
  }
  Status send(std::span<const std::byte> message, Deadline deadline) override {
    RETURN_IF_ERROR(carry_out());
    return endpoint_->send(message, deadline);
  }
  Result<size_t> receive(std::span<std::byte> message, Deadline deadline) override {
    return endpoint_->receive(message, deadline);
  }
  void shut_down() override { endpoint_->shut_down(); }

 private:
  // As many as the endpoint takes; the others when there is room.
  Status carry_out() {
    while (!posted_.empty()) {
      const auto& [op, memory] = posted_.front();
      ASSIGN_OR_RETURN(const size_t accepted, endpoint_->post_writes({&op, 1}, memory));
      if (accepted == 0) return {};
      posted_.pop_front();
    }
    return {};
  }

  const std::unique_ptr<Endpoint> endpoint_;
  std::deque<std::pair<TransferOp, SourceMemory>> posted_;
};

}  // namespace

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(size));
  }
  return true;
}

bool read_all(int fd, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::read(fd, bytes.data(), bytes.size());
    if (size <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(size));
  }
  return true;
}

Guest::Guest() {
  for (const uint64_t pages : kBlockPages) {
    blocks_.push_back(std::make_unique<test::TestMemory>(pages * kBasePageBytes));
    memory_.push_back(blocks_.back()->memory().front());
    memory_.back().name = "block" + std::to_string(memory_.size() - 1);
  }
}

void Guest::touch(BlockContents& model) {
  for (size_t block = 0; block < memory_.size(); ++block) {
    for (uint64_t at = 0; at < memory_[block].size_bytes(); at += 3 * kBasePageBytes) {
      std::fill_n(memory_[block].memory.data() + at, kBasePageBytes, std::byte{0x5a});
      std::fill_n(model[block].data() + at, kBasePageBytes, std::byte{0x5a});
    }
  }
}

void Guest::fill(const BlockContents& contents) {
  for (size_t block = 0; block < memory_.size(); ++block)
    std::ranges::copy(contents[block], memory_[block].memory.data());
}

std::vector<std::byte> Guest::read_page(size_t block, uint64_t page) const {
  std::vector<std::byte> content(kBasePageBytes);
  const auto at = static_cast<off_t>(page * kBasePageBytes);
  CHECK(::pread(blocks_[block]->fd(), content.data(), content.size(), at) ==
        static_cast<ssize_t>(content.size()));
  return content;
}

GuestPageSet Guest::present() const {
  GuestPageSet present = empty_page_set(memory_);
  for (size_t block = 0; block < memory_.size(); ++block)
    CHECK(find_present_pages(memory_[block], present[block]).has_value());
  return present;
}

BlockContents zero_contents() {
  BlockContents contents;
  for (const uint64_t pages : kBlockPages) contents.emplace_back(pages * kBasePageBytes);
  return contents;
}

BlockContents random_contents(uint64_t seed) {
  std::mt19937_64 random(seed);
  BlockContents contents = zero_contents();
  for (auto& block : contents) {
    for (size_t at = 0; at < block.size(); at += sizeof(uint64_t)) {
      const uint64_t word = random();
      std::memcpy(block.data() + at, &word, sizeof(word));
    }
  }
  return contents;
}

bool PlacingRig::can_run(Wire wire) {
  return wire == Wire::kLoopback || TcpTransport::open().has_value();
}

PlacingRig::PlacingRig(Guest& destination, const RigOptions& options)
    : destination_(destination),
      options_(options),
      outgoing_(StreamRing::make(kRingBytes + kStagingBytes).value()),
      incoming_(StreamRing::make(kRingBytes).value()),
      present_at_start_(destination.present()) {
  for (const uint64_t pages : kBlockPages) placed_.add_block(pages * kBasePageBytes);
  make_transports(options);
  const std::string address = options.wire == Wire::kTcp ? "127.0.0.1:0" : "there:0";
  ends_ = test::connect_endpoints(*source_transport_, *destination_transport_, address,
                                  test::make_ticket(0));
  if (options.late_writes) ends_.source = std::make_unique<LateEndpoint>(std::move(ends_.source));
  SocketPair near = make_socket_pair();
  SocketPair far = make_socket_pair();
  near_ = std::move(near.theirs);
  far_ = std::move(far.theirs);
  near_stream_ = make_unix_stream(std::move(near.ours)).value();
  far_stream_ = make_unix_stream(std::move(far.ours)).value();
  if (options.piece_bytes_max > 0)
    near_stream_ =
        std::make_unique<CutStream>(std::move(near_stream_), options.piece_bytes_max, options.seed);
  outgoing_region_ =
      source_transport_->register_memory(outgoing_.bytes(), RemoteAccess::kNone).value();
  incoming_region_ =
      destination_transport_->register_memory(incoming_.bytes(), RemoteAccess::kWrite).value();
  for (const GuestBlock& block : destination.memory())
    regions_.push_back(
        destination_transport_->register_memory(block.memory, RemoteAccess::kWrite).value());
  if (options.source == nullptr) return;
  for (const GuestBlock& block : options.source->memory())
    source_regions_.push_back(
        source_transport_
            ->register_memory(block.memory, RemoteAccess::kNone, PageStability::kReplaceable)
            .value());
}

PlacingRig::~PlacingRig() {
  if (sender_.joinable()) end_all();
}

void PlacingRig::make_transports(const RigOptions& options) {
  if (options.wire == Wire::kTcp) {
    source_transport_ = TcpTransport::open().value();
    destination_transport_ = TcpTransport::open().value();
    return;
  }
  source_transport_ = std::make_unique<LoopbackTransport>(
      network_, LoopbackOptions{.faults = options.faults,
                                .operations_in_flight_max = options.late_writes ? 100'000U : 256U});
  destination_transport_ = std::make_unique<LoopbackTransport>(network_);
}

std::vector<PlacingSender::Block> PlacingRig::placed_blocks() const {
  std::vector<PlacingSender::Block> blocks;
  for (size_t i = 0; i < regions_.size(); ++i)
    blocks.push_back({.remote = regions_[i]->describe(),
                      .guest = source_regions_.empty() ? nullptr : source_regions_[i].get()});
  return blocks;
}

Status PlacingRig::send() {
  const std::unique_ptr<PageExtractor> extractor = make_record_extractor();
  PlacingSender sender({.endpoint = *ends_.source,
                        .stream = *near_stream_,
                        .extractor = *extractor,
                        .ring = outgoing_.bytes().first(kRingBytes),
                        .staging = outgoing_.bytes().subspan(kRingBytes),
                        .local = *outgoing_region_,
                        .remote = incoming_region_->describe(),
                        .blocks = placed_blocks(),
                        .placed = options_.placed != nullptr ? *options_.placed : placed_,
                        .torn = torn_});
  const Status status = sender.run();
  placed_bytes_ = sender.placed_bytes();
  return status;
}

Status PlacingRig::receive() {
  StreamReceiver receiver(
      {.endpoint = *ends_.destination,
       .stream = *far_stream_,
       .ring = incoming_.bytes(),
       .guest = options_.knows_guest ? &destination_.memory() : nullptr,
       .present_at_start = options_.knows_guest ? &present_at_start_ : nullptr});
  return receiver.run();
}

void PlacingRig::start() {
  sender_ = std::jthread([this] {
    sent_ = send();
    if (!sent_) end_all();
  });
  receiver_ = std::jthread([this] {
    received_ = receive();
    if (!received_) end_all();
  });
}

void PlacingRig::finish() {
  sender_.join();
  receiver_.join();
}

void PlacingRig::end_all() {
  ends_.source->shut_down();
  ends_.destination->shut_down();
  near_stream_->shut_down();
  far_stream_->shut_down();
}

}  // namespace godwit::relay
