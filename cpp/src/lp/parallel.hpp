// Independent games shared by a few threads.
#pragma once
#include <clinometer/lp/status.hpp>

#include "src/share.hpp"

namespace clinometer::lp {

/// Run task(index, worker) for index < count; worker < threads names the scratch space to use.
template <class Task>
void parallel(std::int64_t count, const Work& work, Task&& task) {
  // A thread that would find fewer than four tasks costs more to start than it saves.
  share(count, std::min<std::int64_t>(work.threads, count / 4), work.poll, task);
}

}  // namespace clinometer::lp
