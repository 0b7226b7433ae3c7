// The process's threads for the team: made with the first environment, ended with the last.
#pragma once
#include <stddef.h>

#include "team.h"

namespace gradmill {

// An environment joins before its first job and leaves after its last; leaving ends its jobs. Returns how many threads there are:
// those that the first one asked for, fewer where the system gives no more.
int joinTeam(int threads);
void leaveTeam(const void* owner);

// One thread's scratch, large enough for every table.
size_t scratchBytes();

}  // namespace gradmill
