// SPDX-License-Identifier: Apache-2.0
//
// The report as JSON. docs/json.md is its documentation: a change here is a change there.
#pragma once

#include <string>

#include "engine/report.h"
#include "engine/session/session_record.h"

namespace godwit::cli {

// Indented, with a line end. Text that is not UTF-8 is repaired, never refused.
std::string render_report_json(const MigrationReport& report, SessionRole role);

}  // namespace godwit::cli
