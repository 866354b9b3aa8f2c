// SPDX-License-Identifier: Apache-2.0
//
// A job by PMI-2. Slurm's library speaks with every launcher that has its wire protocol, MPICH's
// Hydra among them.
#include <slurm/pmi2.h>

#include <array>
#include <memory>

#include "cli/launcher/job.h"
#include "cli/launcher/shared_library.h"

namespace godwit::cli {
namespace {

static_assert(kJobTextBytesMax < PMI2_MAX_VALLEN);

struct Pmi2Functions {
  decltype(PMI2_Init)* init;
  decltype(PMI2_Finalize)* finalize;
  decltype(PMI2_Job_GetId)* job_id;
  decltype(PMI2_KVS_Put)* put;
  decltype(PMI2_KVS_Fence)* fence;
  decltype(PMI2_KVS_Get)* get;
};

Result<Pmi2Functions> load_pmi2() {
  ASSIGN_OR_RETURN(const SharedLibrary library,
                   SharedLibrary::load({.file = "libpmi2.so.0", .package = "libpmi2-0"}));
  Pmi2Functions pmi2{};
  RETURN_IF_ERROR(library.find("PMI2_Init", pmi2.init));
  RETURN_IF_ERROR(library.find("PMI2_Finalize", pmi2.finalize));
  RETURN_IF_ERROR(library.find("PMI2_Job_GetId", pmi2.job_id));
  RETURN_IF_ERROR(library.find("PMI2_KVS_Put", pmi2.put));
  RETURN_IF_ERROR(library.find("PMI2_KVS_Fence", pmi2.fence));
  RETURN_IF_ERROR(library.find("PMI2_KVS_Get", pmi2.get));
  return pmi2;
}

Status check_pmi2(const char* operation, int status) {
  if (status == PMI2_SUCCESS) return {};
  return fail(Errc::kSystem, "PMI-2 {}: error {}", operation, status);
}

class Pmi2Job final : public Job {
 public:
  struct Place {
    size_t rank;
    size_t size;
  };
  Pmi2Job(const Pmi2Functions& pmi2, Place place) : pmi2_(pmi2), place_(place) {}
  ~Pmi2Job() override { pmi2_.finalize(); }

  const char* launcher() const override { return "PMI-2"; }
  size_t rank() const override { return place_.rank; }
  size_t size() const override { return place_.size; }

  Result<std::vector<std::string>> exchange(const std::string& text) override {
    const unsigned number = exchanges_++;
    const auto key_of = [&](size_t rank) { return fmt::format("godwit-{}-{}", number, rank); };
    RETURN_IF_ERROR(check_pmi2("put", pmi2_.put(key_of(rank()).c_str(), text.c_str())));
    RETURN_IF_ERROR(check_pmi2("fence", pmi2_.fence()));
    std::array<char, PMI2_MAX_VALLEN> job_id{};
    RETURN_IF_ERROR(
        check_pmi2("job", pmi2_.job_id(job_id.data(), static_cast<int>(job_id.size()))));
    std::vector<std::string> texts;
    for (size_t rank = 0; rank < size(); ++rank) {
      std::array<char, PMI2_MAX_VALLEN> value{};
      int length = 0;
      RETURN_IF_ERROR(
          check_pmi2("get", pmi2_.get(job_id.data(), static_cast<int>(rank), key_of(rank).c_str(),
                                      value.data(), static_cast<int>(value.size()), &length)));
      value.back() = '\0';
      texts.emplace_back(value.data());
    }
    return texts;
  }

 private:
  const Pmi2Functions pmi2_;
  const Place place_;
  unsigned exchanges_ = 0;
};

}  // namespace

Result<std::unique_ptr<Job>> join_pmi2_job() {
  ASSIGN_OR_RETURN(const Pmi2Functions pmi2, load_pmi2());
  int spawned = 0;
  int size = 0;
  int rank = 0;
  int application = 0;
  RETURN_IF_ERROR(check_pmi2("init", pmi2.init(&spawned, &size, &rank, &application)));
  return std::make_unique<Pmi2Job>(
      pmi2, Pmi2Job::Place{.rank = static_cast<size_t>(rank), .size = static_cast<size_t>(size)});
}

}  // namespace godwit::cli
