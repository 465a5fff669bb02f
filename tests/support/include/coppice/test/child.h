#pragma once

#include "coppice/os/process.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace coppice::test {

/// Runs `body` in a child with new namespaces (CLONE_NEW*) and waits. Its EXPECT and ASSERT failures and exceptions are
/// printed and make the result false, with what happened.
testing::AssertionResult in_child(std::uint64_t flags, const std::function<void()>& body);

/// The same, born in the v2 cgroup that `cgroup` is open on.
testing::AssertionResult in_child_of_cgroup(int cgroup, const std::function<void()>& body);

/// Runs a program found in PATH, its output discarded; its exit status.
int run_program(const std::vector<std::string>& args);

/// Waits until `condition` holds; false after `milliseconds`.
bool wait_until(const std::function<bool()>& condition, int milliseconds = 5000);

} // namespace coppice::test
