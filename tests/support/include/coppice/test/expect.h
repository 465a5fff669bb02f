#pragma once

#include "coppice/base/result.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace coppice::test {

/// EXPECT_TRUE(succeeds(call())): prints the error when not.
template <typename T> testing::AssertionResult succeeds(const Result<T>& result)
{
    if (result) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "failed: " << result.error().line();
}

/// EXPECT_TRUE(fails_as(ErrorKind::Invalid, "part of the line", call()))
template <typename T> testing::AssertionResult fails_as(ErrorKind kind, std::string_view part, const Result<T>& result)
{
    if (result) return testing::AssertionFailure() << "succeeded instead of failing with '" << part << "'";
    const std::string line = result.error().line();
    if (result.error().kind() != kind)
        return testing::AssertionFailure() << "failed with kind " << static_cast<int>(result.error().kind())
                                           << " instead of " << static_cast<int>(kind) << ": " << line;
    if (line.find(part) == std::string::npos)
        return testing::AssertionFailure() << "the error does not say '" << part << "': " << line;
    return testing::AssertionSuccess();
}

/// The value; ends the test with the error when there is none.
template <typename T> T value_of(Result<T> result)
{
    if (!result) throw std::runtime_error(result.error().line());
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

} // namespace coppice::test
