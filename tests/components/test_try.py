def test_it(transform, split_files):
    print(transform.raw_feature_spec(), transform.transformed_feature_spec(), split_files, transform.vocabulary_by_name("labels"))
