// SPDX-License-Identifier: Apache-2.0
//
// A CLI11 check of an option's text, out of a parser of ours.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "engine/base/result.h"

namespace godwit::cli {

// Shown as `name` in the help. `parse` takes the text and returns a Result; its error is the
// message.
template <typename Parse>
CLI::Validator understood_by(Parse parse, const std::string& name) {
  return CLI::Validator(
      [parse](const std::string& text) {
        auto parsed = parse(text);
        return parsed ? std::string() : to_string(parsed.error());
      },
      name);
}

}  // namespace godwit::cli
