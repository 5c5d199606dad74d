from foveal.micro import facts


def test_splits_share_no_country_and_no_ambiguous_flag():
    train, test = facts.split("train"), facts.split("test")
    assert not {c.code for c in train} & {c.code for c in test}
    assert len(train) > 80 and len(test) > 40
    assert "TD" not in {c.code for c in (*train, *test)}  # Chad's flag is Romania's


def test_real_facts():
    peru = next(country for country in facts.countries() if country.code == "PE")
    assert (peru.name, peru.capital, peru.continent, peru.area) == ("Peru", "Lima", "South America", 1285220)
    assert peru.density == round(peru.population * 1000 / 1285220)


def test_counterfactual_facts_differ_for_every_country_and_are_the_same_every_time():
    edited = facts.counterfactual()
    assert edited == facts.counterfactual()
    for true, false in zip(facts.countries(), edited, strict=True):
        assert (true.code, true.name) == (false.code, false.name)
        assert true.capital != false.capital
        assert (true.population, true.area) != (false.population, false.area)


def test_every_fact_can_be_read_in_the_text():
    for country in facts.countries():
        text = facts.country_text(country)
        for fact in (country.name, country.capital, str(country.population), str(country.area)):
            assert fact in text
