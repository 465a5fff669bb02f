#include "coppice/base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace coppice {
namespace {

/// Writes its name into a list when it goes.
class Mark {
public:
    Mark(std::vector<std::string>& list, std::string name) : list_{&list}, name_{std::move(name)} {}
    Mark(Mark&& other) noexcept : list_{std::exchange(other.list_, nullptr)}, name_{std::move(other.name_)} {}
    Mark& operator=(Mark&&) = delete;
    ~Mark()
    {
        if (list_ != nullptr) list_->push_back(name_);
    }

private:
    std::vector<std::string>* list_;
    std::string name_;
};

Result<Mark> make_mark(std::vector<std::string>& list, std::string name, bool works)
{
    if (!works) return fail(ErrorKind::Unavailable, "no " + name);
    return Mark{list, std::move(name)};
}

Result<int> number(int value)
{
    if (value < 0) return fail(ErrorKind::Invalid, "negative");
    return value;
}

Result<int> sum(int a, int b) { return TRY(number(a)) + TRY(number(b)); }

Result<> check(bool works)
{
    if (!works) return fail(ErrorKind::Denied, "refused");
    return {};
}

TEST(ResultTest, TryTakesTheValueOrReturnsTheError)
{
    EXPECT_EQ(*sum(2, 3), 5);
    EXPECT_EQ(sum(2, -3).error().message(), "negative");
    EXPECT_EQ(sum(-2, 3).error().kind(), ErrorKind::Invalid);
}

TEST(ResultTest, TryMayStandInTheArgumentOfATry)
{
    const auto nested = [](int a, int b) -> Result<int> { return TRY(sum(TRY(sum(a, 1)), TRY(number(b)))); };
    EXPECT_EQ(*nested(1, 2), 4);
    EXPECT_FALSE(nested(-1, 2));
    EXPECT_FALSE(nested(1, -2));
}

TEST(ResultTest, TryOfNothingIsAStatement)
{
    int reached = 0;
    const auto both = [&](bool first, bool second) -> Result<> {
        TRY(check(first));
        ++reached;
        TRY_DOING("second step", check(second));
        ++reached;
        return {};
    };
    EXPECT_FALSE(both(false, true));
    EXPECT_EQ(reached, 0);
    EXPECT_EQ(both(true, false).error().message(), "second step: refused");
    EXPECT_EQ(reached, 1);
    EXPECT_TRUE(both(true, true));
    EXPECT_EQ(reached, 3);
}

TEST(ResultTest, TryMovesOutWhatCannotBeCopied)
{
    const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
    const auto use = [&]() -> Result<int> {
        const auto pointer = TRY(make());
        return *pointer;
    };
    EXPECT_EQ(*use(), 7);
}

TEST(ResultTest, EarlyReturnDestroysInReverseOrder)
{
    std::vector<std::string> gone;
    const auto build = [&]() -> Result<> {
        const auto first = TRY(make_mark(gone, "first", true));
        const auto second = TRY(make_mark(gone, "second", true));
        const auto third = TRY(make_mark(gone, "third", false));
        gone.emplace_back("not reached");
        return {};
    };
    EXPECT_EQ(build().error().message(), "no third");
    EXPECT_EQ(gone, (std::vector<std::string>{"second", "first"}));
}

TEST(ResultTest, EarlyReturnInAnArgumentDestroysTheOtherArguments)
{
    std::vector<std::string> gone;
    const auto take = [](Mark, Mark) { return 1; };
    const auto build = [&]() -> Result<int> {
        return take(TRY(make_mark(gone, "a", true)), TRY(make_mark(gone, "b", false)));
    };
    EXPECT_FALSE(build());
    // The order of arguments is the compiler's; what was made must be gone in any case.
    EXPECT_LE(gone.size(), 1U);
    const auto reversed = [&]() -> Result<int> {
        return take(TRY(make_mark(gone, "a", false)), TRY(make_mark(gone, "b", true)));
    };
    EXPECT_FALSE(reversed());
    EXPECT_EQ(gone.size(), 1U); // in one of the two orders the good one was made first
}

TEST(ResultTest, ContextIsAddedToErrorsOnly)
{
    EXPECT_EQ(*with_context(number(1), "counting"), 1);
    EXPECT_EQ(with_context(number(-1), "counting").error().message(), "counting: negative");
}

} // namespace
} // namespace coppice
