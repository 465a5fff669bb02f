#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

namespace coppice::test {

/// What a test may need of the machine. Each is found out by trying, once per program.
enum class Need : unsigned char {
    Root, ///< euid 0, and a mount namespace of the program's own
    UserNamespaces,
    Overlayfs,
    Erofs,
    MkfsErofs, ///< the program mkfs.erofs
    LoopDevices,
    IdMappedMounts, ///< on the file system of TempDir
    CgroupV2,       ///< a v2 hierarchy, alone or beside v1
    PidsController,
    MemoryController,
    DeviceFilter, ///< eBPF programs for devices can be loaded
    Seccomp,
};

/// Why the first of `needs` that is missing is missing; empty when all are there.
std::string find_missing(std::initializer_list<Need> needs);

} // namespace coppice::test

/// Skips the test with the reason: COPPICE_NEEDS(Root, Overlayfs);
#define COPPICE_NEEDS(...)                                                                         \
    do {                                                                                           \
        using enum ::coppice::test::Need;                                                          \
        if (const auto missing_ = ::coppice::test::find_missing({__VA_ARGS__}); !missing_.empty()) \
            GTEST_SKIP() << missing_;                                                              \
    } while (false)
