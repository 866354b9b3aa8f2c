// SPDX-License-Identifier: Apache-2.0
//
// What each process of a job tells the others: who it is and where it serves, or why it cannot.
#pragma once

#include <string>
#include <vector>

#include "cli/matrix_measure.h"
#include "engine/base/result.h"

namespace godwit::cli {

// "name|address,address,…|reason", cut to what a launcher carries (launcher/job.h).
std::string encode_job_card(const ServingHost& host);

// Errors: kCorrupt.
Result<ServingHost> decode_job_card(const std::string& text);

// Names that several have get the rank with them.
void make_names_unique(std::vector<ServingHost>& hosts);

}  // namespace godwit::cli
