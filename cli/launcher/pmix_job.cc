// SPDX-License-Identifier: Apache-2.0
//
// A job by PMIx, whose standard fixes the layout of its structs; values are built and freed here by
// hand, since the macros for that differ between versions of the library.
#include <pmix.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli/launcher/job.h"
#include "cli/launcher/shared_library.h"

namespace godwit::cli {
namespace {

struct PmixFunctions {
  decltype(PMIx_Init)* init;
  decltype(PMIx_Finalize)* finalize;
  decltype(PMIx_Put)* put;
  decltype(PMIx_Commit)* commit;
  decltype(PMIx_Fence)* fence;
  decltype(PMIx_Get)* get;
  decltype(PMIx_Error_string)* error_string;
};

Result<PmixFunctions> load_pmix() {
  ASSIGN_OR_RETURN(const SharedLibrary library,
                   SharedLibrary::load({.file = "libpmix.so.2", .package = "libpmix2"}));
  PmixFunctions pmix{};
  RETURN_IF_ERROR(library.find("PMIx_Init", pmix.init));
  RETURN_IF_ERROR(library.find("PMIx_Finalize", pmix.finalize));
  RETURN_IF_ERROR(library.find("PMIx_Put", pmix.put));
  RETURN_IF_ERROR(library.find("PMIx_Commit", pmix.commit));
  RETURN_IF_ERROR(library.find("PMIx_Fence", pmix.fence));
  RETURN_IF_ERROR(library.find("PMIx_Get", pmix.get));
  RETURN_IF_ERROR(library.find("PMIx_Error_string", pmix.error_string));
  return pmix;
}

class PmixJob final : public Job {
 public:
  PmixJob(const PmixFunctions& pmix, const pmix_proc_t& self) : pmix_(pmix), self_(self) {}
  ~PmixJob() override { pmix_.finalize(nullptr, 0); }

  const char* launcher() const override { return "PMIx"; }
  size_t rank() const override { return self_.rank; }
  size_t size() const override { return size_; }

  Status read_size() {
    ASSIGN_OR_RETURN(const Value value, get(PMIX_RANK_WILDCARD, PMIX_JOB_SIZE));
    if (value->type != PMIX_UINT32) return fail(Errc::kCorrupt, "PMIx knows no size of the job");
    size_ = value->data.uint32;
    return {};
  }

  Result<std::vector<std::string>> exchange(const std::string& text) override {
    const std::string key = fmt::format("godwit.{}", exchanges_++);
    std::string copy = text;
    pmix_value_t value{};
    value.type = PMIX_STRING;
    value.data.string = copy.data();
    RETURN_IF_ERROR(check("put", pmix_.put(PMIX_GLOBAL, key.c_str(), &value)));
    RETURN_IF_ERROR(check("commit", pmix_.commit()));
    RETURN_IF_ERROR(fence());
    std::vector<std::string> texts;
    for (size_t rank = 0; rank < size_; ++rank) {
      ASSIGN_OR_RETURN(const Value found, get(static_cast<pmix_rank_t>(rank), key.c_str()));
      if (found->type != PMIX_STRING) return fail(Errc::kCorrupt, "PMIx gave back no text");
      texts.emplace_back(found->data.string);
    }
    return texts;
  }

 private:
  struct FreeValue {
    void operator()(pmix_value_t* value) const {
      if (value->type == PMIX_STRING) std::free(value->data.string);
      std::free(value);
    }
  };
  using Value = std::unique_ptr<pmix_value_t, FreeValue>;

  Status check(const char* operation, pmix_status_t status) const {
    if (status == PMIX_SUCCESS) return {};
    return fail(Errc::kSystem, "PMIx {}: {}", operation, pmix_.error_string(status));
  }

  pmix_proc_t process(pmix_rank_t rank) const {
    pmix_proc_t other = self_;
    other.rank = rank;
    return other;
  }

  Status fence() const {
    const pmix_proc_t everybody = process(PMIX_RANK_WILDCARD);
    pmix_info_t collect{};
    std::strncpy(collect.key, PMIX_COLLECT_DATA, PMIX_MAX_KEYLEN);
    collect.value.type = PMIX_BOOL;
    collect.value.data.flag = true;
    return check("fence", pmix_.fence(&everybody, 1, &collect, 1));
  }

  Result<Value> get(pmix_rank_t rank, const char* key) const {
    const pmix_proc_t owner = process(rank);
    pmix_value_t* value = nullptr;
    RETURN_IF_ERROR(check("get", pmix_.get(&owner, key, nullptr, 0, &value)));
    return Value(value);
  }

  const PmixFunctions pmix_;
  const pmix_proc_t self_;
  size_t size_ = 0;
  unsigned exchanges_ = 0;
};

}  // namespace

Result<std::unique_ptr<Job>> join_pmix_job() {
  ASSIGN_OR_RETURN(const PmixFunctions pmix, load_pmix());
  pmix_proc_t self{};
  const pmix_status_t status = pmix.init(&self, nullptr, 0);
  if (status != PMIX_SUCCESS)
    return fail(Errc::kSystem, "join the launcher's job by PMIx: {}", pmix.error_string(status));
  auto job = std::make_unique<PmixJob>(pmix, self);
  RETURN_IF_ERROR(job->read_size());
  return job;
}

}  // namespace godwit::cli
