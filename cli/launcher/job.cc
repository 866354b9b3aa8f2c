// SPDX-License-Identifier: Apache-2.0
#include "cli/launcher/job.h"

#include <cstdlib>

namespace godwit::cli {
namespace {

bool is_set(const char* variable) {
  return std::getenv(variable) != nullptr;  // NOLINT(concurrency-mt-unsafe): nobody sets any
}

}  // namespace

Result<std::unique_ptr<Job>> join_job() {
  if (is_set("PMIX_NAMESPACE")) return join_pmix_job();
  if (is_set("PMI_FD")) return join_pmi2_job();
  if (is_set("SLURM_STEP_ID") || is_set("SLURM_JOB_ID"))
    return fail(
        Errc::kRefused,
        "Slurm started this without a way for its processes to find each other: use `srun "
        "--mpi=pmix` or `srun --mpi=pmi2` (or SLURM_MPI_TYPE, or MpiDefault in slurm.conf)");
  return fail(
      Errc::kRefused,
      "no hosts: name them by --hosts A,B,…, each with a `godwit bench serve`, or start this "
      "on all of them by srun or mpirun");
}

}  // namespace godwit::cli
