// The process's threads for the team: made with the first environment, ended with the last.
#pragma once
#include <stddef.h>

#include "team.h"

namespace gradmill {

// An environment joins before its first job and leaves after its last; leaving ends its jobs.
void joinTeam(int threads);
void leaveTeam(const void* owner);

// One thread's scratch, large enough for every table.
size_t scratchBytes();

}  // namespace gradmill
