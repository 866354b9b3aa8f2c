// SPDX-License-Identifier: Apache-2.0
#include "engine/qualify/cpu_clock.h"

#include <unistd.h>

#include <sstream>
#include <string>

#include "engine/base/system_files.h"
#include "engine/migration/cpu_time.h"

namespace godwit::qualify {

CpuTime read_cpu_time() {
  // "cpu user nice system idle iowait irq softirq steal guest guest_nice"; guests are in user.
  std::istringstream line(read_line("/proc/stat"));
  std::string name;
  double user = 0;
  double nice = 0;
  double system = 0;
  double idle = 0;
  double io_wait = 0;
  double interrupts = 0;
  double soft_interrupts = 0;
  double stolen = 0;
  line >> name >> user >> nice >> system >> idle >> io_wait >> interrupts >> soft_interrupts >>
      stolen;
  const double ticks = user + nice + system + stolen;
  return {.cpu_s = process_cpu_seconds(),
          .machine_s = line ? ticks / static_cast<double>(::sysconf(_SC_CLK_TCK)) : 0};
}

}  // namespace godwit::qualify
